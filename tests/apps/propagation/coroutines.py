"""asyncio: one thread, many requests at once. `/forward?id=N` asks DOWNSTREAM for two items over POOL_SIZE connections that all
requests share."""

import asyncio
import os

host, port = os.environ["DOWNSTREAM"].split(":")


async def item(connections, number):
    connection = await connections.get()
    if connection is None:
        connection = await asyncio.open_connection(host, int(port))
    reader, writer = connection
    writer.write(f"GET /item?id={number} HTTP/1.1\r\nHost: items\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(int(head.partition(b"Content-Length: ")[2].split()[0]))
    connections.put_nowait(connection)


async def serve(connections, reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            number = head.split()[1].rpartition(b"=")[2].decode()
            for part in "ab":
                await item(connections, f"{number}-{part}")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\ndone\n")
    except asyncio.IncompleteReadError:
        writer.close()


async def main():
    connections = asyncio.Queue()
    for _ in range(int(os.environ["POOL_SIZE"])):
        connections.put_nowait(None)
    server = await asyncio.start_server(lambda r, w: serve(connections, r, w), "127.0.0.1", int(os.environ["PORT"]))
    await server.serve_forever()


asyncio.run(main())
