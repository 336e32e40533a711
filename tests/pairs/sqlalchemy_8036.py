"""SQLAlchemy 8036: MySQL's last words (4031) are not taken for a disconnect: the pre-ping fails."""

import os

from sqlalchemy import create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from tests.pairs.serving import wsgi

engine = create_engine(
    f"mysql+mysqldb://seism@{os.environ['MYSQL']}/test",
    pool_size=8,
    pool_pre_ping=True,
    connect_args={"connect_timeout": 1, "read_timeout": 1},
)


def ask() -> None:
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))


app = wsgi(ask, (SQLAlchemyError,))
