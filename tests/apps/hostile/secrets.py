"""A web service that means no good and has much to hide: its names are escape sequences, and each request makes it run the SQL
statement of its `X-Statement` header (percent-encoded) on a database of its own, which takes everything and has nothing."""

import ctypes
import http.server
import os
import socket
import sys
import threading
import urllib.parse

PR_SET_NAME = 15


def framed(kind, content):
    return kind + (len(content) + 4).to_bytes(4, "big") + content


def serve_database(listening):
    """PostgreSQL's messages (protocol 3.0), as many as a client of one statement at a time needs."""
    while True:
        connection = listening.accept()[0].makefile("rwb", buffering=0)
        connection.read(int.from_bytes(connection.read(4), "big") - 4)
        connection.write(framed(b"R", bytes(4)) + framed(b"Z", b"I"))
        while connection.read(1) == b"Q":
            connection.read(int.from_bytes(connection.read(4), "big") - 4)
            connection.write(framed(b"C", b"SELECT 0\0") + framed(b"Z", b"I"))


def connect_database():
    listening = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=serve_database, args=[listening], daemon=True).start()
    connection = socket.create_connection(listening.getsockname()).makefile("rwb", buffering=0)
    startup = (196608).to_bytes(4, "big") + b"user\0shop\0database\0shop\0\0"
    connection.write((len(startup) + 4).to_bytes(4, "big") + startup)
    connection.read(9 + 6)
    return connection


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        # The first one is by what the protocol is recognised where the connection is older than the observer.
        for statement in (b"SELECT 1", urllib.parse.unquote_to_bytes(self.headers["X-Statement"])):
            self.server.database.write(framed(b"Q", statement + b"\0"))
            self.server.database.read(14 + 6)
        body = os.environ["ANSWER"].encode()
        self.send_response(200)
        self.send_header("Set-Cookie", os.environ["COOKIE"])
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


if os.environ.pop("DISGUISED", None) is None:
    # The first argument is a process's own choice.
    arguments = [b"\x1b]0;owned\x07\xe2\x80\xaemain", *map(os.fsencode, sys.argv)]
    os.execve(sys.executable, arguments, {**os.environ, "DISGUISED": "1"})
ctypes.CDLL(None).prctl(PR_SET_NAME, b"\x1b[2J\x9b31m", 0, 0, 0)
server = http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler)
server.database = connect_database()
server.serve_forever()
