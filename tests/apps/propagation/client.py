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


def answer(body):
    received = b""
    while b"\r\n\r\n" not in received or len(received) < received.index(b"\r\n\r\n") + 4 + 64:
        piece = connection.recv(65536)
        if not piece:
            sys.exit(f"the connection ended after {len(received)} bytes")
        received += piece
    digest = received[-64:].decode()
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


print("connected", flush=True)
while not os.path.exists(begin):
    time.sleep(0.01)
for step in steps:
    name, *arguments = step.split(",")
    started = time.monotonic()
    {f.__name__: f for f in (get, post, sendfile, more, rest, pieces, fresh, lockstep, stream, steadily)}[name](*arguments)
    print(time.monotonic() - started, flush=True)
