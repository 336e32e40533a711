"""Flask whose URL converter asks the database: it fails while the URL is resolved."""

import os

import psycopg2
from flask import Flask
from werkzeug.routing import BaseConverter

from seism_middleware.flask import Seism

HOST, PORT = os.environ["DB"].split(":")


def ask() -> None:
    connection = psycopg2.connect(host=HOST, port=PORT, user="seism", dbname="postgres")
    try:
        connection.cursor().execute("select 1")
    finally:
        connection.close()


class Thing(BaseConverter):
    def to_python(self, value: str) -> str:
        ask()
        return value


app = Flask(__name__)
app.url_map.converters["thing"] = Thing
Seism(app)


@app.get("/things/<thing:it>")
def thing(it: str) -> str:
    return it


@app.get("/ok")
def ok() -> object:
    try:
        ask()
    except psycopg2.Error:
        app.logger.exception("the database is away")
        return "later", 503, {"Retry-After": "5"}
    return "ok"
