"""aiosmtplib before 4: once the server has closed the connection, the next connect waits for a lock
that nobody gives back.
"""

import asyncio
import os

import aiosmtplib

from tests.pairs.serving import asgi

HOST, PORT = os.environ["MAIL"].split(":")
clients: list[aiosmtplib.SMTP] = []
turn = asyncio.Lock()


async def ask() -> None:
    async with turn:
        if not clients:
            made = aiosmtplib.SMTP(hostname=HOST, port=int(PORT), timeout=1, start_tls=False)
            clients.append(made)
        if not clients[0].is_connected:
            await clients[0].connect()
        await clients[0].noop()


app = asgi(ask, (aiosmtplib.SMTPException, OSError, TimeoutError))
