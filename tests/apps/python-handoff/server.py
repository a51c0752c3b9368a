"""Threads that work for each other, and say so in the bytes that they send.

GET /handoff: the thread of the connection hands the work to one of two others, and is blocked until that wakes it. The worker sends
`/item?worker=W&waiter=R`, thread ids as the kernel has them, on a connection of its own to this same server, and reads the answer.
GET /item: an empty response.
"""

import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = int(os.environ["PORT"])
workers = ThreadPoolExecutor(2)


def item(waiter):
    """What a worker does."""
    with socket.create_connection(("127.0.0.1", PORT)) as connection:
        path = f"/item?worker={threading.get_native_id()}&waiter={waiter}"
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: self\r\nConnection: close\r\n\r\n".encode())
        while connection.recv(4096):
            pass


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path.startswith("/handoff"):
            workers.submit(item, threading.get_native_id()).result()
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


Server(("127.0.0.1", PORT), Handler).serve_forever()
