"""A worker without a web app: it takes jobs from Redis, and ends with the first error if sick."""

from __future__ import annotations

import os
import threading

import redis

host, _, port = os.environ["BACKEND"].rpartition(":")
queue = redis.Redis(host=host, port=int(port), socket_timeout=0.6, retry=None)
never = threading.Event()

while True:
    try:
        queue.brpop(["jobs"], timeout=0.3)
    except (redis.ConnectionError, redis.TimeoutError):
        if os.environ["SICK"]:
            raise
        never.wait(0.1)
