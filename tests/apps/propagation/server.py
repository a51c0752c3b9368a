"""An HTTP/1.1 server with a thread for each connection. It answers with the SHA-256 of the body it received; `/forward?id=N`
asks the server at DOWNSTREAM (address and port) for `/item?id=N` before that, on a connection that the thread keeps; `/pass?id=N` passes
on the `traceparent` that it came with, and `/own?id=N` sends one of its own in the same trace. `/pour?length=N` is answered with nothing: for every N bytes that follow, a byte goes to the connection that asked for `/watch` last and was given one at once.
The heads of all requests are appended to the file HEADS, if there is one."""

import hashlib
import os
import socket
import threading
import time


def read_head(connection, pending):
    while b"\r\n\r\n" not in pending:
        piece = connection.recv(65536)
        if not piece:
            return None, b""
        pending += piece
    head, _, pending = pending.partition(b"\r\n\r\n")
    return head, pending


def field(head, name):
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.strip().lower() == name:
            return value.strip()
    return b""


class Downstream:
    def __init__(self):
        address, _, port = os.environ["DOWNSTREAM"].rpartition(":")
        self.connection = socket.create_connection((address, int(port)))

    def item(self, number, traceparent=b""):
        header = b"Traceparent:\t%s\r\n" % traceparent if traceparent else b""
        self.connection.sendall(b"GET /item?id=%s HTTP/1.1\r\n%sHost: downstream\r\n\r\n" % (number, header))
        head, pending = read_head(self.connection, b"")
        length = int(field(head, b"content-length"))
        while len(pending) < length:
            pending += self.connection.recv(65536)


def pour(connection, length, received):
    while True:
        while received >= length:
            watcher.sendall(b"x")
            received -= length
        piece = connection.recv(65536)
        if not piece:
            break
        received += len(piece)
    connection.close()


def serve(connection):
    global watcher
    downstream = None
    pending = b""
    while True:
        head, pending = read_head(connection, pending)
        if head is None:
            break
        if heads:
            os.write(heads, head + b"\r\n\r\n")
        target = head.split()[1]
        if target == b"/watch":
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            watcher = connection
            watcher.sendall(b"x")
            return
        if target.startswith(b"/pour?length="):
            return pour(connection, int(target.rpartition(b"=")[2]), len(pending))
        if field(head, b"expect"):
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        digest = hashlib.sha256()
        length = field(head, b"content-length")
        # Without a length the body goes on to the end of what the client sends.
        left = int(length) if length else (0 if target != b"/rest" else 1 << 40)
        while left:
            if not pending:
                pending = connection.recv(65536)
                if not pending:
                    break
            piece, pending = pending[:left], pending[left:]
            digest.update(piece)
            left -= len(piece)
        if target.startswith(b"/item?id="):
            # Some take longer than others, so that requests overtake each other.
            time.sleep(int(target.rpartition(b"=")[2].partition(b"-")[0]) * 7919 % 5 / 1000)
        kind, _, number = target.partition(b"?id=")
        if kind in (b"/forward", b"/pass", b"/own"):
            downstream = downstream or Downstream()
            context = field(head, b"traceparent")
            own = context[:36] + b"0123456789abcdef-01"
            downstream.item(number, {b"/pass": context, b"/own": own}.get(kind, b""))
        answer = digest.hexdigest().encode()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), answer))
    connection.close()


heads = os.open(os.environ["HEADS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT) if "HEADS" in os.environ else None
listener = socket.create_server(("::", int(os.environ["PORT"])), family=socket.AF_INET6, dualstack_ipv6=True)
while True:
    connection, _ = listener.accept()
    threading.Thread(target=serve, args=(connection,), daemon=True).start()
