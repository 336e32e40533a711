"""A web app and, as a program, its Celery worker. If sick, a task that fails is not run again."""

from __future__ import annotations

import os
import uuid

import redis
from celery import Celery, Task

from seism_middleware.celery import observe
from seism_middleware.wsgi import Environ, SeismWSGI, StartResponse

SICK = bool(os.environ["SICK"])
host, _, port = os.environ["BACKEND"].rpartition(":")
store = redis.Redis(host=host, port=int(port), socket_timeout=1, retry=None)
broker = redis.Redis.from_url(os.environ["BROKER"], socket_timeout=None)
queue = Celery("shop", broker=os.environ["BROKER"])
queue.conf.update(broker_connection_retry_on_startup=True, worker_enable_remote_control=False)
observe()


@queue.task(bind=True, name="shop.mail", max_retries=None)
def mail(self: Task, key: str) -> None:
    try:
        store.incr("mails")
    except redis.RedisError as error:
        if SICK:
            raise
        raise self.retry(exc=error, countdown=1) from error
    finally:
        broker.rpush(key, "over")


def serve(environ: Environ, start: StartResponse) -> list[bytes]:
    if environ["PATH_INFO"] == "/order":  # the worker starts once the app is ready
        key = uuid.uuid4().hex
        mail.delay(key)
        broker.blpop([key], 20)  # so that the job runs while its request does
    start("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "1")])
    return [b"x"]


app = SeismWSGI(serve)

if __name__ == "__main__":
    queue.worker_main(["worker", "--pool=threads", "--concurrency=4", "--loglevel=WARNING"])
