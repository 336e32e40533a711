"""A web app and its jobs, for an RQ worker that is injected. If sick, no job is run again."""

from __future__ import annotations

import os
import uuid

import redis
import rq

from seism_middleware.wsgi import Environ, SeismWSGI, StartResponse

broker = redis.Redis.from_url(os.environ["BROKER"], socket_timeout=None)
queue = rq.Queue("jobs", connection=broker)


def mail(key: str) -> None:
    host, _, port = os.environ["BACKEND"].rpartition(":")
    try:
        redis.Redis(host=host, port=int(port), socket_timeout=1, retry=None).incr("mails")
    finally:
        broker.rpush(key, "over")


def serve(environ: Environ, start: StartResponse) -> list[bytes]:
    if environ["PATH_INFO"] == "/order":  # the worker starts once the app is ready
        key = uuid.uuid4().hex
        again = None if os.environ["SICK"] else rq.Retry(max=50, interval=1)
        queue.enqueue("rq_app.mail", key, retry=again)
        broker.blpop([key], 20)  # so that the job runs while its request does
    start("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "1")])
    return [b"x"]


app = SeismWSGI(serve)
