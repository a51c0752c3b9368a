"""A web service whose every request runs two statements and calls another service, one after the other: in the thread
that serves the request (/checkout), or in one of WORKERS threads that it hands the work to (/handed).

With POOL_SIZE the connections to PostgreSQL are a pool's; without, each thread has its own."""

import concurrent.futures
import os
import threading

import psycopg
import psycopg_pool
import requests
from flask import Flask, abort, request

DOWNSTREAM = os.environ.get("DOWNSTREAM")
POOL_SIZE = int(os.environ.get("POOL_SIZE", "0"))
WORKERS = int(os.environ.get("WORKERS", "8"))

app = Flask(__name__)
own = threading.local()
pool = psycopg_pool.ConnectionPool(min_size=POOL_SIZE, kwargs={"autocommit": True}) if POOL_SIZE else None
executor = concurrent.futures.ThreadPoolExecutor(WORKERS)
session = requests.Session()
session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=64))


def query(marker, number):
    # Each id has its own delay, so that requests overtake each other. The factor is a prime.
    statement = f"SELECT '{marker}', pg_sleep({number * 7919 % 5 / 1000})"
    if pool:
        with pool.connection() as connection:
            connection.execute(statement)
        return
    if not hasattr(own, "connection"):
        own.connection = psycopg.connect(autocommit=True)
    own.connection.execute(statement)


def work(name, number):
    query(f"{name}-{number}-a", number)
    if DOWNSTREAM:
        session.get(f"{DOWNSTREAM}/item?id={number}").raise_for_status()
    query(f"{name}-{number}-b", number)
    return "done\n"


def requested():
    number = request.args.get("id", "")
    return int(number) if number.isdecimal() else abort(400)


@app.get("/hello")
def hello():
    return "hello\n"


@app.get("/checkout")
def checkout():
    return work("checkout", requested())


@app.get("/item")
def item():
    """For another service that has this one downstream."""
    return work("item", requested())


@app.get("/handed")
def handed():
    return executor.submit(work, "handed", requested()).result()
