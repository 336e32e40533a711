"""A connection for each request (NullPool), whose connect ends in time, or does not."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable

import sqlalchemy

from seism_middleware.wsgi import Environ, SeismWSGI, StartResponse
from tests.zoo.pairs.answer import AWAY, text

PATIENCE = {} if os.environ["SICK"] else {"connect_timeout": 2}
engine = sqlalchemy.create_engine(
    f"postgresql+psycopg2://seism@{os.environ['DB']}/postgres",
    poolclass=sqlalchemy.NullPool,
    connect_args=PATIENCE,
)


def serve(environ: Environ, start: StartResponse) -> Iterable[bytes]:
    try:
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text("select 1"))
    except sqlalchemy.exc.SQLAlchemyError:
        logging.exception("db")
        return text(start, AWAY)
    return text(start)


app = SeismWSGI(serve)
