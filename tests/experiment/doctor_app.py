"""An app on one cache, ill in the way that ``ILL`` names; nothing for a healthy one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from typing import Any

import redis

from seism_middleware.wsgi import SeismWSGI

ILL = os.environ.get("ILL", "")
BESIDE = """
import sys, redis
host, _, port = sys.argv[1].rpartition(":")
cache = redis.Redis(host, int(port))
while True:
    cache.blpop(["jobs"], timeout=60)
"""
"""A process of jobs, without the observer."""


def client(at: str) -> redis.Redis:
    host, _, port = at.rpartition(":")
    return redis.Redis(host, int(port), socket_timeout=2, retry=None)


cache = client(os.environ["PAST" if ILL == "past" else "CACHE"])
other = client(os.environ["OTHER"]) if ILL == "undeclared" else None
job = (
    subprocess.Popen([sys.executable, "-c", BESIDE, os.environ["CACHE"]]) if ILL == "jobs" else None
)


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    if environ["PATH_INFO"] != "/ready" and ILL != "unused":
        try:
            cache.get("key")
        except redis.RedisError:
            if ILL == "exits":
                os._exit(3)
            raise
        if other is not None:
            other.get("key")
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "4")])
    return [b"fine"]


app = application if ILL == "bare" else SeismWSGI(application)
