"""An HTTP API over connections that are kept: looked at before they are used again, or not."""

from __future__ import annotations

import http.client
import logging
import os
import threading
from collections.abc import Iterable

import urllib3

from seism_middleware.wsgi import Environ, SeismWSGI, StartResponse
from tests.zoo.pairs.answer import AWAY, text

SICK = bool(os.environ["SICK"])
HOST, PORT = os.environ["API"].split(":")
pool = urllib3.HTTPConnectionPool(HOST, int(PORT), timeout=1, retries=False, maxsize=4, block=True)
kept = threading.local()


def unlooked() -> None:
    """The standard library's client, which writes into whatever it has."""
    if not hasattr(kept, "connection"):
        kept.connection = http.client.HTTPConnection(HOST, int(PORT), timeout=1)
    try:
        kept.connection.request("GET", "/")
        kept.connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        del kept.connection
        raise


def serve(environ: Environ, start: StartResponse) -> Iterable[bytes]:
    try:
        unlooked() if SICK else pool.request("GET", "/")
    except (OSError, http.client.HTTPException, urllib3.exceptions.HTTPError):
        logging.exception("api %s:%s", HOST, PORT)
        return text(start, "500 Internal Server Error" if SICK else AWAY)
    return text(start)


app = SeismWSGI(serve)
