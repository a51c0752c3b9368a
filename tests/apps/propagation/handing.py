"""A thread for each connection reads the requests, and a pool of POOL_SIZE threads with a connection each asks DOWNSTREAM for two items
of each: `/forward?id=N`."""

import concurrent.futures
import http.client
import os
import socket
import threading

pool = concurrent.futures.ThreadPoolExecutor(int(os.environ["POOL_SIZE"]))
local = threading.local()


def items(number):
    if not hasattr(local, "connection"):
        local.connection = http.client.HTTPConnection(os.environ["DOWNSTREAM"])
    for part in "ab":
        local.connection.request("GET", f"/item?id={number}-{part}")
        local.connection.getresponse().read()


def serve(connection):
    while head := connection.recv(65536):
        number = head.split()[1].rpartition(b"=")[2].decode()
        pool.submit(items, number).result()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\ndone\n")
    connection.close()


listener = socket.create_server(("127.0.0.1", int(os.environ["PORT"])))
while True:
    connection, _ = listener.accept()
    threading.Thread(target=serve, args=(connection,), daemon=True).start()
