"""A web service that answers with what it was asked for, and that becomes another program when it is asked to: PROGRAM,
which goes on with the same socket."""

import os
import socket
import sys

if len(sys.argv) > 1:
    listener = socket.socket(fileno=int(sys.argv[1]))
else:
    listener = socket.create_server(("127.0.0.1", int(os.environ["PORT"])))
while True:
    connection, _ = listener.accept()
    with connection:
        request = b""
        while b"\r\n\r\n" not in request and (piece := connection.recv(4096)):
            request += piece
        if not request:
            continue
        path = request.split()[1]
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(path) + path)
    if path == b"/become":
        listener.set_inheritable(True)
        program = os.environ["PROGRAM"]
        os.execv(program, [program, __file__, str(listener.fileno())])
