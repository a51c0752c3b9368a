"""A web service on one event loop, with a small pool of PostgreSQL connections."""

import contextlib
import os

import asyncpg
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route


@contextlib.asynccontextmanager
async def pool(app):
    size = int(os.environ.get("POOL_SIZE", "20"))
    async with asyncpg.create_pool(min_size=size, max_size=size) as connections:
        app.state.connections = connections
        yield


async def hello(request):
    return PlainTextResponse("hello\n")


async def checkout(request):
    number = int(request.query_params["id"])
    async with request.app.state.connections.acquire() as connection:
        first = await connection.fetchval(f"SELECT 'checkout-{number}-a'")
        second = await connection.fetchval(f"SELECT 'checkout-{number}-b', $1::int", number)
    return JSONResponse({"markers": [first, second]})


app = Starlette(routes=[Route("/hello", hello), Route("/checkout", checkout)], lifespan=pool)
