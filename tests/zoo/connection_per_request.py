"""A connection per request, as Django has it by default; libpq connects where nobody sees it.

``/fails`` makes a 500 of a failed connect, ``/excuses`` a 503 that says when to come again.
"""

import logging
import os

import psycopg2

from seism_middleware.wsgi import Environ, SeismWSGI, StartResponse

HOST, PORT = os.environ["DB"].split(":")


def serve(environ: Environ, start: StartResponse) -> list[bytes]:
    headers = [("Content-Type", "text/plain"), ("Content-Length", "1")]
    status = "200 OK"
    try:
        connection = psycopg2.connect(host=HOST, port=PORT, user="seism", dbname="postgres")
        try:
            connection.cursor().execute("select 1")
        finally:
            connection.close()
    except psycopg2.Error:
        status = "500 Internal Server Error"
        if environ["PATH_INFO"] == "/excuses":
            logging.exception("the database is away")
            status = "503 Service Unavailable"
            headers.append(("Retry-After", "5"))
    start(status, headers)
    return [b"x"]


app = SeismWSGI(serve)
