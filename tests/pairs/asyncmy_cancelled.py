"""asyncmy 103: a query that is cancelled leaves its rows to the next request."""

import os
from itertools import count
from typing import Any

import asyncmy
from asyncmy.errors import Error

from tests.pairs.serving import asgi

HOST, PORT = os.environ["MYSQL"].split(":")
pools: list[Any] = []
numbers = count()


async def ask() -> None:
    if not pools:
        made = await asyncmy.create_pool(
            host=HOST, port=int(PORT), user="seism", db="test", minsize=4, maxsize=16
        )
        pools.append(made)
    number = next(numbers)
    async with pools[0].acquire() as connection, connection.cursor() as cursor:
        await cursor.execute(f"SELECT {number}")
        if await cursor.fetchone() != (number,):
            raise ValueError("the row of another request")


app = asgi(ask, (Error, OSError), cancels=True)
