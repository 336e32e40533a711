"""One Redis pub/sub connection for all requests, as a task queue has it for its results.

A confirmation is read by whoever reads next, and answers nobody's question.
"""

import itertools
import os
import threading

import redis

from seism_middleware.wsgi import Environ, SeismWSGI, StartResponse

HOST, PORT = os.environ["CACHE"].split(":")
cache = redis.Redis(HOST, int(PORT), protocol=2, socket_timeout=10)
inbox = cache.pubsub()
inbox.subscribe("all")
lock, numbers = threading.Lock(), itertools.count()


def told(channel: str) -> None:
    """Read until the message of ``channel`` comes, or nothing for a while; drop all others."""
    while (message := inbox.get_message(timeout=0.3)) is not None:
        if message["type"] == "message" and message["channel"].decode() == channel:
            return


def serve(environ: Environ, start: StartResponse) -> list[bytes]:
    own = f"job-{os.getpid()}-{next(numbers)}"
    with lock:
        inbox.subscribe(own)
        cache.set(own, own, ex=60)
        cache.publish(own, "done")
        told(own)
        found = cache.get(own)
        inbox.unsubscribe(own)
    body = str(found).encode()
    status = "200 OK" if found == own.encode() else "500 Wrong"
    headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]
    start(status, headers)
    return [body]


app = SeismWSGI(serve)
