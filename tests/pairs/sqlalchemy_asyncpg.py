"""SQLAlchemy 12077: with asyncpg, the connection of what anyio cancels stays open."""

import contextlib
import logging
import os
from typing import Any

import anyio
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine

from seism_middleware.asgi import SeismASGI

DEADLINE = 0.25
log = logging.getLogger("app")
engine = create_async_engine(
    f"postgresql+asyncpg://seism@{os.environ['DB']}/postgres",
    pool_size=2,
    max_overflow=0,
    pool_timeout=1,
    connect_args={"ssl": False},
)


async def ask() -> None:
    async with engine.connect() as connection:
        await connection.execute(text("SELECT 1"))


async def serve(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        with contextlib.suppress(Exception):
            while True:
                await send({"type": (await receive())["type"] + ".complete"})
        return
    status, headers = 200, []
    try:
        with anyio.fail_after(DEADLINE):
            await ask()
    except (TimeoutError, SQLAlchemyError, OSError) as error:
        log.error("db: %s", type(error).__name__)
        status, headers = 503, [(b"retry-after", b"1")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"x"})


app = SeismASGI(serve)
