"""Connects, waits for a file to appear, and does what its arguments say, on one connection. Each body is answered with its SHA-256,
which must be right. Says when it is connected and prints what each step took, in seconds: `ADDRESS PORT FILE STEP…`"""

import hashlib
import os
import socket
import sys
import tempfile
import time

address, port, begin, *steps = sys.argv[1:]
connection = socket.create_connection((address, int(port)))


received = b""


def answer(body):
    """Reads one answer; what follows it is the next one's."""
    global received
    while b"\r\n\r\n" not in received or len(received) < received.index(b"\r\n\r\n") + 4 + 64:
        piece = connection.recv(65536)
        if not piece:
            sys.exit(f"the connection ended after {len(received)} bytes")
        received += piece
    end = received.index(b"\r\n\r\n") + 4 + 64
    digest, received = received[end - 64 : end].decode(), received[end:]
    if digest != hashlib.sha256(body).hexdigest():
        sys.exit(f"{len(body)} bytes arrived as others")


def head(length, target="/body", pad=0):
    fields = f"POST {target} HTTP/1.1\r\nHost: propagation.test\r\n"
    if length is not None:
        fields += f"Content-Length: {length}\r\n"
    if pad:
        fields += f"X-Pad: {'p' * pad}\r\n"
    return (fields + "\r\n").encode()


def body(length):
    return (b"%08d" * (length // 8 + 1) % tuple(range(length // 8 + 1)))[:length]


def get(target):
    connection.sendall(f"GET {target} HTTP/1.1\r\nHost: propagation.test\r\n\r\n".encode())
    answer(b"")


def gets(count, pad):
    """Requests of one write each, with Nagle's algorithm at work."""
    for _ in range(int(count)):
        connection.send(head(0, pad=int(pad)))
        answer(b"")


def crowded(count, pad):
    """The same while bytes of another connection wait to be read: the kernel cannot put each request at the beginning of a page."""
    with socket.create_connection((address, int(port))) as unread:
        unread.sendall(b"GET /watch HTTP/1.1\r\n\r\n")
        unread.recv(1)
        for _ in range(int(count)):
            unread.send(b"unread")
            gets(1, pad)


def with_head(target, *fields):
    """With further lines in the head."""
    lines = "".join(f"{field}\r\n" for field in fields)
    connection.sendall(f"GET {target} HTTP/1.1\r\nHost: propagation.test\r\n{lines}\r\n".encode())
    answer(b"")


def split(target):
    """A head in two writes."""
    connection.sendall(f"GET {target} HTTP/1.1\r\nHost: propag".encode())
    connection.sendall(b"ation.test\r\n\r\n")
    answer(b"")


def pipelined(count):
    """Requests in one write."""
    connection.sendall(b"".join(f"GET /item?id={n} HTTP/1.1\r\nHost: propagation.test\r\n\r\n".encode() for n in range(int(count))))
    for _ in range(int(count)):
        answer(b"")


def smuggled(length):
    """A body that goes on, once the server has said something, with what looks like a request."""
    data = b"GET /smuggled HTTP/1.1\r\nHost: propagation.test\r\n\r\n"
    data += body(int(length) - len(data))
    fields = f"POST /body HTTP/1.1\r\nHost: propagation.test\r\nExpect: 100-continue\r\nContent-Length: {len(data)}\r\n\r\n"
    connection.sendall(fields.encode())
    if connection.recv(65536) != b"HTTP/1.1 100 Continue\r\n\r\n":
        sys.exit("the server does not go on")
    connection.sendall(data)
    answer(data)


def post(length):
    data = body(int(length))
    connection.sendall(head(len(data)) + data)
    answer(data)


def sendfile(length):
    """The head with MSG_MORE, the body from a file."""
    data = body(int(length))
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        connection.send(head(len(data)), socket.MSG_MORE)
        connection.sendfile(file)
    answer(data)


def more(length):
    """Many pieces that are sent together."""
    data = body(int(length))
    connection.send(head(len(data)), socket.MSG_MORE)
    for start in range(0, len(data), 100):
        last = start + 100 >= len(data)
        connection.send(data[start : start + 100], 0 if last else socket.MSG_MORE)
    answer(data)


def rest(length):
    """To the end of what is sent; nothing can follow."""
    data = body(int(length))
    connection.sendall(head(None, "/rest"))
    connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)
    answer(data)


def pieces(count, pad):
    """Requests in two small writes each, with Nagle's algorithm at work."""
    data = b"0123456789"
    for _ in range(int(count)):
        connection.send(head(len(data), pad=int(pad)))
        connection.send(data)
        answer(data)


def fresh(count, pad):
    """The same, each on a connection of its own: there the receiver still acknowledges at once."""
    global connection
    for _ in range(int(count)):
        connection.close()
        connection = socket.create_connection((address, int(port)))
        pieces(1, pad)


def lockstep(count, length):
    """Two small writes at a time, one way: the receiver says that both are there on another connection."""
    with socket.create_connection((address, int(port))) as watch, socket.create_connection((address, int(port))) as one_way:
        watch.sendall(b"GET /watch HTTP/1.1\r\n\r\n")
        watch.recv(1)
        one_way.sendall(f"GET /pour?length={2 * int(length)} HTTP/1.1\r\n\r\n".encode())
        for _ in range(int(count)):
            one_way.send(bytes(int(length)))
            one_way.send(bytes(int(length)))
            watch.recv(1)


def stream(count):
    """Many small writes, one way, with Nagle's algorithm at work; nothing can follow."""
    data = b"0123456789" * 10
    connection.send(head(None, "/rest"))
    for _ in range(int(count)):
        connection.send(data)
    connection.shutdown(socket.SHUT_WR)
    answer(data * int(count))


def steadily(begin_of_end):
    """Bodies until a file appears."""
    while not os.path.exists(begin_of_end):
        post(200_000)


STEPS = (get, gets, crowded, with_head, split, pipelined, smuggled, post, sendfile, more, rest, pieces, fresh, lockstep, stream, steadily)

print("connected", flush=True)
while not os.path.exists(begin):
    time.sleep(0.01)
for step in steps:
    name, *arguments = step.split(",")
    started = time.monotonic()
    {f.__name__: f for f in STEPS}[name](*arguments)
    print(time.monotonic() - started, flush=True)
