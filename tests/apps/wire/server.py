"""Answers HTTP/1.1 requests, one connection after the other, with the same bytes each time: the last part of the path is
the length of the body."""

import os
import socket

listener = socket.create_server(("0.0.0.0", int(os.environ["PORT"])))
while True:
    connection, _ = listener.accept()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    pending = b""
    while piece := connection.recv(65536):
        pending += piece
        while b"\r\n\r\n" in pending:
            head, _, pending = pending.partition(b"\r\n\r\n")
            length = int(head.split()[1].rpartition(b"/")[2])
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length + b"w" * length)
    connection.close()
