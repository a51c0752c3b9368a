"""Makes the same requests each time: many on one connection, large ones, and connections for one request."""

import socket
import sys

address = (sys.argv[1], int(sys.argv[2]))


def ask(connection, length):
    connection.sendall(b"GET /wire/%d HTTP/1.1\r\nHost: wire.test\r\nX-Fixed: value\r\n\r\n" % length)
    answer = b""
    while (end := answer.find(b"\r\n\r\n") + 4) < 4 or len(answer) < end + length:
        piece = connection.recv(65536)
        if not piece:
            sys.exit(f"the connection ended after {len(answer)} bytes")
        answer += piece


for lengths in [range(1, 50), [1_000_000, 3], [10], [20], [30]]:
    with socket.create_connection(address) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for length in lengths:
            ask(connection, length)
