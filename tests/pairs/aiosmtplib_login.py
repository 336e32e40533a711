"""aiosmtplib: a connect that fails after the connection was made keeps its lock."""

import os

import aiosmtplib

from tests.pairs.serving import asgi

HOST, PORT = os.environ["MAIL"].split(":")
clients: list[aiosmtplib.SMTP] = []


async def ask() -> None:
    if not clients:
        clients.append(aiosmtplib.SMTP(hostname=HOST, port=int(PORT), timeout=1, start_tls=False))
    if not clients[0].is_connected:
        await clients[0].connect()
    await clients[0].noop()


app = asgi(ask, (aiosmtplib.SMTPException, OSError, TimeoutError))
