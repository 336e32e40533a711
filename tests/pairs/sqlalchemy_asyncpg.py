"""SQLAlchemy 12077: with asyncpg, the connection of what anyio cancels stays open."""

import os

import anyio
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine

from tests.pairs.serving import asgi

DEADLINE = 0.25
engine = create_async_engine(
    f"postgresql+asyncpg://seism@{os.environ['DB']}/postgres",
    pool_size=2,
    max_overflow=0,
    pool_timeout=1,
    connect_args={"ssl": False},
)


async def ask() -> None:
    with anyio.fail_after(DEADLINE):
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))


app = asgi(ask, (TimeoutError, SQLAlchemyError, OSError), backend="db")
