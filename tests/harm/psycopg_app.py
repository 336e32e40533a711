"""Reads from PostgreSQL through psycopg_pool, and waits for a connection 0.2 s at most."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from typing import Any

import psycopg
from psycopg_pool import ConnectionPool, PoolTimeout

from seism_middleware.wsgi import SeismWSGI

log = logging.getLogger("app")
host, _, port = os.environ["BACKEND"].rpartition(":")
pool = ConnectionPool(
    f"host={host} port={port} user=seism dbname=postgres connect_timeout=2 sslmode=disable",
    min_size=4,
    max_size=4,
    timeout=0.2,
    reconnect_timeout=1.5,
    open=False,
)
pool.open(wait=True)


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    headers = [("Content-Type", "text/plain")]
    try:
        with pool.connection() as connection:
            row = connection.execute("SELECT 1").fetchone()
    except (psycopg.Error, PoolTimeout) as error:
        log.error("store failed: %s", type(error).__name__)
        start_response("503 Service Unavailable", [*headers, ("Retry-After", "1")])
        return [b"later"]
    start_response("200 OK", headers)
    return [str(row).encode()]


app = SeismWSGI(application)
