"""A web service that says in which context (contextvars) each of its responses is written: by its event loop (/task), or by one of its
threads (/thread), or in a context that was made as a copy of another one, of which it says which (/copy). For CPython 3.8 and newer, without any
package."""

import asyncio
import contextvars
import os
import threading


def number(of=contextvars.copy_context()):
    """A context of its own, made in another one, and how it is recorded: its address without the last four bits, of which the low 32."""
    context = of.run(contextvars.copy_context)
    return context, id(context) >> 4 & 0xFFFFFFFF


def response(address, of=0):
    body = f"context={address} of={of}\n".encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


async def connected(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(0)
            context, address = number()
            if head.startswith(b"GET /thread"):
                descriptor = writer.get_extra_info("socket").fileno()
                loop = asyncio.get_running_loop()
                await loop.run_in_executor(None, context.run, os.write, descriptor, response(address))
            elif head.startswith(b"GET /copy"):
                copy, its_address = number(context)
                copy.run(writer.write, response(its_address, address))
            else:
                context.run(writer.write, response(address))
    except asyncio.IncompleteReadError:
        writer.close()


async def main():
    server = await asyncio.start_server(connected, "127.0.0.1", int(os.environ["PORT"]))
    async with server:
        await server.serve_forever()


# Threads that do nothing: the interpreter has them in the same list.
for _ in range(int(os.environ.get("IDLE_THREADS", "0"))):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
asyncio.run(main())
