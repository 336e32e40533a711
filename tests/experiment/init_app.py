"""A Flask app on a cache, and on a database by a driver in C that keeps no connection."""

from __future__ import annotations

import os

import psycopg
import redis
from flask import Flask

app = Flask(__name__)
host, _, port = os.environ["CACHE"].rpartition(":")
cache = redis.Redis(host=host, port=int(port), socket_timeout=3)


@app.get("/")
def home() -> str:
    return str(cache.get("a"))


@app.get("/rows")
def rows() -> str:
    with psycopg.connect(os.environ["DB"]) as connection:
        return str(connection.execute("select 1").fetchall())


@app.get("/items/<int:number>")
def item(number: int) -> str:
    return str(number)


@app.post("/orders")
def order() -> str:
    return "done"
