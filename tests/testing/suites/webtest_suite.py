"""Pyramid on a cache, with WebTest."""

import os
import unittest

import redis
from pyramid.config import Configurator
from pyramid.response import Response
from webtest import TestApp

host, _, port = os.environ["BACKEND"].rpartition(":")
patience = {"socket_timeout": 0.3, "socket_connect_timeout": 0.3}
cache = redis.Redis(host=host, port=int(port), retry=None, **patience)


def well(request):
    try:
        cache.get("key")
    except redis.RedisError:
        pass
    return Response("fine")


def ill(request):
    cache.get("key")
    return Response("fine")


def make():
    with Configurator() as config:
        for name, view in (("well", well), ("ill", ill)):
            config.add_route(name, f"/{name}")
            config.add_view(view, route_name=name)
        return config.make_wsgi_app()


class Routes(unittest.TestCase):
    def setUp(self):
        self.app = TestApp(make())
        self.addCleanup(cache.close)

    def test_well(self):
        self.assertEqual(self.app.get("/well").text, "fine")

    def test_ill(self):
        self.app.get("/ill", status=200)

    def test_missing(self):
        self.app.get("/missing", status=404)
