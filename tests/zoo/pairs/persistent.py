"""Django's persistent connections, with their health checks or without."""

from __future__ import annotations

import os

import django
from django.conf import settings
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.urls import path

from seism_middleware.wsgi import SeismWSGI

HOST, PORT = os.environ["DB"].split(":")
settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="for a test",
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": HOST,
            "PORT": PORT,
            "USER": "seism",
            "NAME": "postgres",
            "CONN_MAX_AGE": 60,
            "CONN_HEALTH_CHECKS": not os.environ["SICK"],
        }
    },
)
django.setup()


def serve(request: HttpRequest) -> HttpResponse:
    with connection.cursor() as cursor:
        cursor.execute("select 1")
    return HttpResponse(b"x")


urlpatterns = [path("", serve)]

from django.core.wsgi import get_wsgi_application  # noqa: E402

app = SeismWSGI(get_wsgi_application())
