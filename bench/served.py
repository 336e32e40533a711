"""The apps of ``bench.middleware`` for a real server: ``BENCH_APP`` says which one."""

from __future__ import annotations

import os

from bench.middleware import asgi_app, observed_asgi, observed_wsgi, wsgi_app

app = {
    "wsgi bare": wsgi_app,
    "wsgi with": observed_wsgi,
    "asgi bare": asgi_app,
    "asgi with": observed_asgi,
}[os.environ["BENCH_APP"]]
