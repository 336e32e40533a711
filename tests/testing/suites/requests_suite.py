"""A WSGI app on a cache, served by a thread, with requests and httpx over a socket."""

import os
import threading
from wsgiref.simple_server import WSGIRequestHandler, make_server

import httpx
import pytest
import redis
import requests

host, _, port = os.environ["BACKEND"].rpartition(":")
patience = {"socket_timeout": 0.3, "socket_connect_timeout": 0.3}
cache = redis.Redis(host=host, port=int(port), retry=None, **patience)


def app(environ, start_response):
    status = "200 OK"
    try:
        cache.get("key")
    except redis.RedisError:
        if environ["PATH_INFO"] == "/ill":
            status = "500 Internal Server Error"
    start_response(status, [("Content-Type", "text/plain")])
    return [b"fine"]


class Quiet(WSGIRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def server():
    found = make_server("127.0.0.1", 0, app, handler_class=Quiet)
    thread = threading.Thread(target=found.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{found.server_port}"
    found.shutdown()
    thread.join()
    found.server_close()


def test_well(server):
    assert requests.get(f"{server}/well", timeout=20).text == "fine"


def test_ill(server):
    with requests.Session() as session:
        assert session.get(f"{server}/ill", timeout=20).status_code == 200


def test_ill_by_httpx(server):
    assert httpx.get(f"{server}/ill?by=httpx", timeout=20).status_code == 200
