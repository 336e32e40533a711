"""httpcore 550: after time-outs a connection stays marked as requested by nobody."""

import os

import httpcore

from tests.pairs.serving import wsgi

LIMITS = {"connect": 0.3, "read": 0.3, "write": 0.3, "pool": 0.3}
pool = httpcore.ConnectionPool(max_connections=2)


def ask() -> None:
    pool.request("GET", f"http://{os.environ['API']}/", extensions={"timeout": LIMITS})


app = wsgi(ask, (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError))
