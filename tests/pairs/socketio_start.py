"""python-socketio before 5.11: if Redis is away at the start, nobody ever subscribes."""

import os

import redis
import socketio

from tests.pairs.serving import wsgi

URL = f"redis://{os.environ['CACHE']}/0"
cache = redis.Redis.from_url(f"{URL}?socket_timeout=1")
manager = socketio.RedisManager(URL)
server = socketio.Server(async_mode="threading", client_manager=manager)
manager.initialize()


def ask() -> None:
    cache.get("a")


app = wsgi(ask, (redis.RedisError,))
