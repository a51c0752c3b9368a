"""What the scenarios are made of: listeners of each family, two processes with a connection between them, and HTTP/1.1
by one chosen system call. Nothing here buffers, so the system calls are the ones that are named."""

import os
import socket
import sys
import tempfile

END = b"\r\n\r\n"


def request(path, body=b"", method="GET", version="1.1"):
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    return f"{method} {path} HTTP/{version}\r\nHost: a\r\n{length}\r\n".encode() + body


def response(body=b"done", status="200 OK"):
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def listener(family):
    """`ipv4`, `ipv6`, `unix` (bound to a path) or `abstract`."""
    if family in ("ipv4", "ipv6"):
        made = socket.socket(socket.AF_INET6 if family == "ipv6" else socket.AF_INET)
        made.bind(("::1" if family == "ipv6" else "127.0.0.1", 0))
    else:
        made = socket.socket(socket.AF_UNIX)
        folder = tempfile.mkdtemp(prefix="sockets-")
        made.bind(f"{folder}/socket" if family == "unix" else f"\0{folder}")
    made.listen(128)
    return made


def connect(listening):
    made = socket.socket(listening.family)
    made.connect(listening.getsockname())
    return made


def fork(work):
    """A process that does this and ends."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(status)
    return child


def join(*children):
    failed = [child for child in children if os.waitpid(child, 0)[1] != 0]
    if failed:
        sys.exit("a process of the scenario failed")


def between(server, client, family="ipv4"):
    """Runs `client` on a connection in one process and `server` on its other end in another."""
    listening = listener(family)

    def serve():
        connection, _ = listening.accept()
        server(connection)
        connection.close()

    def ask():
        connection = connect(listening)
        client(connection)
        connection.close()

    join(fork(serve), fork(ask))


def recv(connection, size=4096):
    return connection.recv(size)


def until(connection, end=END, read=recv):
    """Reads with `read` until these bytes have come, which must be the last."""
    seen = b""
    while end not in seen:
        piece = read(connection)
        if not piece:
            raise EOFError(f"the connection ended after {seen!r}")
        seen += piece
    return seen


def answer(connection, count=1, read=recv, write=None):
    """Answers so many requests without a body, each after it was read."""
    for _ in range(count):
        until(connection, END, read)
        (write or socket.socket.sendall)(connection, response())


def ask(connection, path, read=recv, write=None):
    """Sends one request and reads its answer."""
    (write or socket.socket.sendall)(connection, request(path))
    until(connection, b"done", read)


def exactly(connection, length):
    while length:
        piece = connection.recv(min(length, 1 << 20))
        if not piece:
            raise EOFError(f"{length} bytes are missing")
        length -= len(piece)


def ended(connection):
    """Reads until the other side has ended."""
    while connection.recv(4096):
        pass
