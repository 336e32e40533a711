"""SQLAlchemy's QueuePool with overflow, which looks at a connection before it is used, or not."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable

import sqlalchemy

from seism_middleware.wsgi import Environ, SeismWSGI, StartResponse
from tests.zoo.pairs.answer import text

engine = sqlalchemy.create_engine(
    f"postgresql+psycopg2://seism@{os.environ['DB']}/postgres",
    pool_size=4,
    max_overflow=4,
    pool_timeout=2,
    pool_use_lifo=False,
    pool_pre_ping=not os.environ["SICK"],
)
# All of the pool's places are taken once, so that four connections are kept.
for connection in [engine.connect() for _ in range(4)]:
    connection.close()


def serve(environ: Environ, start: StartResponse) -> Iterable[bytes]:
    try:
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text("select 1"))
    except sqlalchemy.exc.SQLAlchemyError:
        logging.exception("db")
        return text(start, "500 Internal Server Error")
    return text(start)


app = SeismWSGI(serve)
