"""Recommends what others who bought the same have bought."""

import os
import threading

import pymysql
from flask import Flask, jsonify, request

app = Flask(__name__)
connections = threading.local()


def database():
    if not hasattr(connections, "database"):
        connections.database = pymysql.connect(
            host="127.0.0.1", port=int(os.environ["MARIADB_PORT"]), user="root", database="test", autocommit=True
        )
    return connections.database


@app.get("/recommendations")
def recommendations():
    customer = int(request.args["customer"])
    with database().cursor() as cursor:
        cursor.execute("SELECT product FROM purchases WHERE customer = %s ORDER BY bought DESC", [customer])
        products = [product for (product,) in cursor.fetchall()]
        names = []
        for product in products:
            # One question for each product, and no index to answer it with. It was fast when customers were few.
            cursor.execute("SELECT name FROM products WHERE sku = %s", [f"sku-{product}"])
            names.append(cursor.fetchone()[0])
    return jsonify(products=names[:5])
