"""A threaded web service: every thread has its own connections to PostgreSQL and MariaDB."""

import os
import threading

import psycopg
import pymysql
from flask import Flask, jsonify, request

app = Flask(__name__)
connections = threading.local()


def postgres():
    if not hasattr(connections, "postgres"):
        connections.postgres = psycopg.connect(autocommit=True)
    return connections.postgres


def mariadb():
    if not hasattr(connections, "mariadb"):
        connections.mariadb = pymysql.connect(
            host="127.0.0.1", port=int(os.environ["MARIADB_PORT"]), user="root", database="test", autocommit=True
        )
    return connections.mariadb


@app.get("/hello")
def hello():
    return "hello\n"


@app.get("/checkout")
def checkout():
    number = int(request.args["id"])
    first = postgres().execute(f"SELECT 'checkout-{number}-a'").fetchone()
    second = postgres().execute(f"SELECT 'checkout-{number}-b', %s::int", [number]).fetchone()
    return jsonify(markers=[first[0], second[0]])


@app.get("/pipeline")
def pipeline():
    """Fifty statements that PostgreSQL gets before it has answered the first."""
    number = int(request.args["id"])
    with postgres().pipeline():
        cursors = [postgres().execute(f"SELECT 'pipeline-{number}-{step}'") for step in range(50)]
    return jsonify(markers=[cursor.fetchone()[0] for cursor in cursors])


@app.get("/mariadb/plain")
def mariadb_plain():
    number = int(request.args["id"])
    with mariadb().cursor() as cursor:
        cursor.execute(f"SELECT 'mariadb-plain-{number}', %s", [number])
        return jsonify(marker=cursor.fetchone()[0])


@app.get("/mariadb/prepared")
def mariadb_prepared():
    """Prepared by SQL: PyMySQL has no binary protocol, so these are three more plain statements."""
    number = int(request.args["id"])
    with mariadb().cursor() as cursor:
        cursor.execute(f"PREPARE statement_{number} FROM 'SELECT {number}, ?'")
        cursor.execute(f"EXECUTE statement_{number} USING 'mariadb-execute-{number}'")
        marker = cursor.fetchone()[1]
        cursor.execute(f"DEALLOCATE PREPARE statement_{number}")
        return jsonify(marker=marker)
