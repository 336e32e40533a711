"""Django whose middleware asks a backend, as a session or a login does, before the URL is resolved.

``ASK``: ``cache`` (Redis), or ``db`` (PostgreSQL, over a connection of each thread that is opened
again, once, when it was lost).
"""

import os
import threading
from collections.abc import Callable

import psycopg2
import redis
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

from seism_middleware.wsgi import SeismWSGI

ASK = os.environ["ASK"]
HOST, PORT = os.environ["BACKEND"].split(":")
cache = redis.Redis(HOST, int(PORT), protocol=2, socket_timeout=0.5, retry=None)
mine = threading.local()


def database() -> None:
    for again in (True, False):
        try:
            if getattr(mine, "db", None) is None:
                mine.db = psycopg2.connect(host=HOST, port=PORT, user="seism", dbname="postgres")
            mine.db.cursor().execute("select 1")
            mine.db.commit()
            return
        except psycopg2.Error:
            mine.db = None
            if not again:
                raise


def session(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    def ask(request: HttpRequest) -> HttpResponse:
        if ASK == "db":
            database()
        else:
            cache.get("session")
        return get_response(request)

    return ask


urlpatterns = [path("things/<name>/", lambda request, name: HttpResponse("x"))]
settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    SECRET_KEY="x",
    MIDDLEWARE=[f"{__name__}.session"],
)
app = SeismWSGI(get_wsgi_application())
