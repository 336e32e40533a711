"""aiomysql before 0.1: a connection whose query was cancelled goes back into the pool."""

import os

import aiomysql
import pymysql

from tests.pairs.serving import asgi

HOST, PORT = os.environ["MYSQL"].split(":")
pools: list[aiomysql.Pool] = []


async def ask() -> None:
    if not pools:
        made = await aiomysql.create_pool(
            host=HOST, port=int(PORT), user="seism", db="test", minsize=1, maxsize=4
        )
        pools.append(made)
    async with pools[0].acquire() as connection, connection.cursor() as cursor:
        await cursor.execute("SELECT 1")
        await cursor.fetchall()


app = asgi(ask, (pymysql.err.Error, OSError), cancels=True)
