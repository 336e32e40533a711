"""SQLAlchemy 8036: the check of the pool does not take MySQL's 4031 for a disconnect.

mysqlclient hands the error on; PyMySQL 1.2 calls it 2013, which every release knows.
"""

import os

from sqlalchemy import create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from tests.pairs.serving import wsgi

engine = create_engine(
    f"mysql+mysqldb://seism@{os.environ['MYSQL']}/test", pool_pre_ping=True, pool_size=8
)


def ask() -> None:
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
    except SQLAlchemyError as error:
        raise RuntimeError("the pool handed out a connection that the server has closed") from error


app = wsgi(ask, ())  # an honest 503 would be green
