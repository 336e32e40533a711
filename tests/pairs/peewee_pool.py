"""peewee before 4.3.0: its pool hands out a connection that the server has closed."""

import os

import peewee
from playhouse.pool import PooledPostgresqlDatabase

from seism_middleware.wsgi import Environ, SeismWSGI, StartResponse

HOST, PORT = os.environ["DB"].split(":")
database = PooledPostgresqlDatabase(
    "postgres", host=HOST, port=int(PORT), user="seism", max_connections=8, autoconnect=False
)


def serve(environ: Environ, start: StartResponse) -> list[bytes]:
    status = "200 OK"
    try:
        with database.connection_context():
            database.execute_sql("SELECT 1")
    except (peewee.PeeweeException, ValueError):
        status = "500 Internal Server Error"
    start(status, [("Content-Type", "text/plain"), ("Content-Length", "1")])
    return [b"x"]


app = SeismWSGI(serve)
