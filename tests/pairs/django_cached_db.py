"""Django 34806: a session in ``cached_db`` fails with its cache, though the database has it."""

import os

import django
from django.conf import settings
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

from seism_middleware.wsgi import SeismWSGI

settings.configure(
    SECRET_KEY="x",
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    INSTALLED_APPS=["django.contrib.sessions"],
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
    SESSION_ENGINE="django.contrib.sessions.backends.cached_db",
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["SQLITE"]}},
    CACHES={
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": f"redis://{os.environ['CACHE']}/0",
            "OPTIONS": {"socket_timeout": 0.5},
        }
    },
)
django.setup()
call_command("migrate", verbosity=0, run_syncdb=True)


def visit(request: HttpRequest) -> HttpResponse:
    request.session["seen"] = True
    return HttpResponse("x")


urlpatterns = [path("visit", visit)]
app = SeismWSGI(get_wsgi_application())
