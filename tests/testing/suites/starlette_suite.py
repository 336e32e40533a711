"""Starlette on a cache: its own test client, and httpx over ASGI."""

import asyncio
import os

import httpx
import pytest
import redis
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

host, _, port = os.environ["BACKEND"].rpartition(":")
patience = {"socket_timeout": 0.3, "socket_connect_timeout": 0.3}
cache = redis.Redis(host=host, port=int(port), retry=None, **patience)


def well(request: Request) -> Response:
    try:
        cache.get("key")
    except redis.RedisError:
        return JSONResponse({"cached": False})
    return JSONResponse({"cached": False})


def ill(request: Request) -> Response:
    cache.get("key")
    return Response("fine")


async def ill_async(request: Request) -> Response:
    return ill(request)


app = Starlette(routes=[Route("/well", well), Route("/ill", ill), Route("/ill/async", ill_async)])


@pytest.fixture
def client():
    with TestClient(app) as found:
        yield found


@pytest.mark.parametrize("path", ["/well", "/ill"])
def test_of_starlette(client, path):
    assert client.get(path).status_code == 200


async def ask(path):
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
        return await client.get(path)


def test_over_asgi():
    assert asyncio.run(ask("/ill/async")).status_code == 200


@pytest.mark.anyio
async def test_over_asgi_within_a_loop(anyio_backend):
    assert (await ask("/ill/async?again=1")).text == "fine"


@pytest.fixture
def anyio_backend():
    return "asyncio"
