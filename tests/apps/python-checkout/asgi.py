"""A web service on one event loop, whose every request runs two statements on a pool's connections and calls another
service: one after the other (/checkout), or all at once (/fanout)."""

import asyncio
import contextlib
import os

import asyncpg
import httpx
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse

DOWNSTREAM = os.environ.get("DOWNSTREAM")
POOL_SIZE = int(os.environ.get("POOL_SIZE", "20"))


@contextlib.asynccontextmanager
async def clients(app):
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=None)
    async with (
        asyncpg.create_pool(min_size=POOL_SIZE, max_size=POOL_SIZE) as app.state.pool,
        httpx.AsyncClient(limits=limits) as app.state.client,
    ):
        yield


app = FastAPI(lifespan=clients, default_response_class=PlainTextResponse)


async def query(marker, number):
    # Each id has its own delay, so that requests overtake each other. The factor is a prime.
    await app.state.pool.fetchrow(f"SELECT '{marker}', pg_sleep({number * 7919 % 5 / 1000})")


async def call(number):
    if DOWNSTREAM:
        response = await app.state.client.get(f"{DOWNSTREAM}/item?id={number}")
        response.raise_for_status()


@app.get("/hello")
async def hello():
    return "hello\n"


@app.get("/checkout")
async def checkout(id: int):
    await query(f"checkout-{id}-a", id)
    await call(id)
    await query(f"checkout-{id}-b", id)
    return "done\n"


@app.get("/fanout")
async def fanout(id: int):
    await asyncio.gather(query(f"fanout-{id}-a", id), query(f"fanout-{id}-b", id), call(id))
    return "done\n"
