"""SQLAlchemy 8036: MySQL's 4031, by which it ends idle sessions, did not count as a disconnect."""

import os

from sqlalchemy import create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from tests.pairs.serving import wsgi

engine = create_engine(f"mysql+pymysql://seism@{os.environ['MYSQL']}/test", pool_size=8)


def ask() -> None:
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))


app = wsgi(ask, (SQLAlchemyError,))
