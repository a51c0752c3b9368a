"""Knows what is in stock and what it costs."""

import threading

import psycopg
from flask import Flask, jsonify, request

app = Flask(__name__)
connections = threading.local()


def database():
    if not hasattr(connections, "database"):
        connections.database = psycopg.connect(autocommit=True)
    return connections.database


@app.post("/reserve")
def reserve():
    products = [int(product) for product in request.args["products"].split(",")]
    rows = database().execute(
        "UPDATE stock SET reserved = reserved + 1 WHERE product = ANY(%s) RETURNING price", [products]
    ).fetchall()
    return jsonify(total=sum(price for (price,) in rows))
