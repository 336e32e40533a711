from __future__ import annotations

import asyncio
import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import fastapi
import pytest
import starlette.applications
import starlette.responses
import starlette.routing
import uvicorn

from seism_middleware import observer
from seism_middleware.asgi import SeismASGI
from seism_middleware.contract import ENVIRON_ROUTE, Goodbye, Hello, RequestBegun, RequestEnded
from tests.seism_middleware.peer import Peer, eventually


def start(status: int = 200, *headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def body(data: bytes, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


def script(*steps: Any) -> Any:
    """An app that sends messages and raises exceptions, in that order."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for step in steps:
            if isinstance(step, BaseException):
                raise step
            await send(step)

    return app


LENGTH = (b"content-length", b"3")
CASES = [
    (script(start(), body(b"abc")), 200, "complete", ""),
    (script(start(200, LENGTH), body(b"ab", True), body(b"c", True)), 200, "complete", ""),
    (script(start(200, LENGTH), body(b"ab")), 200, "truncated", ""),
    (script(start(204)), 204, "truncated", ""),
    (script(start(503, (b"Retry-After", b"1")), body(b"")), 503, "complete", ""),
    (script(), 500, "complete", ""),
    (script(KeyError("secret")), 500, "complete", "KeyError"),
    (script(start(), KeyError()), 200, "truncated", "KeyError"),
    (script(start(), body(b"a", True), KeyError()), 200, "truncated", "KeyError"),
    (script(start(500), body(b"oops"), KeyError()), 500, "complete", "KeyError"),
    (script(asyncio.CancelledError()), None, "none", "asyncio.exceptions.CancelledError"),
]


async def ask(app: Any, method: str = "GET", path: str = "/items/7") -> list[Any]:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    try:
        await app({"type": "http", "method": method, "path": path}, receive, send)
    except (KeyError, asyncio.CancelledError):
        pass
    return sent


@pytest.mark.parametrize(("app", "status", "how", "exception"), CASES)
def test_semantics(peer: Peer, app: Any, status: Any, how: str, exception: str) -> None:
    asyncio.run(ask(SeismASGI(app, sidecar=peer.address)))
    observer.configured(peer.address, None, "asgi").close()  # type: ignore[union-attr]
    peer.wait(Goodbye)
    ended = peer.records(RequestEnded)[-1]
    assert (ended.status, ended.body, ended.exception) == (status, how, exception)
    assert ended.retry_after is (status == 503)
    assert ended.route == "/items/{id}"
    assert len({r.request for r in peer.records(RequestEnded)}) == 1
    assert ended.cpu is None and peer.records(Hello)[0].interface == "asgi"


def test_a_client_that_leaves_truncates(peer: Peer) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        assert (await receive())["type"] == "http.disconnect"
        await send(body(b"to nobody"))

    asyncio.run(ask(SeismASGI(app, sidecar=peer.address)))
    assert peer.wait(RequestEnded)[0].body == "truncated"


def test_the_observation_precedes_the_last_byte(peer: Peer) -> None:
    async def main() -> None:
        app = SeismASGI(script(start(200, LENGTH), body(b"abc")), sidecar=peer.address)
        await ask(app)
        peer.wait(RequestEnded)

        async def send(message: Any) -> None:
            if message["type"] == "http.response.body":
                peer.wait(RequestEnded, 2)

        await app({"type": "http", "method": "GET", "path": "/"}, None, send)  # type: ignore[arg-type]

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
def test_other_scopes_are_untouched(peer: Peer, kind: str) -> None:
    seen: list[Any] = []

    async def app(*arguments: Any) -> None:
        seen.extend(arguments)
        raise NotImplementedError

    scope, receive, send = {"type": kind}, object(), object()
    with pytest.raises(NotImplementedError):
        asyncio.run(SeismASGI(app, sidecar=peer.address)(scope, receive, send))  # type: ignore[arg-type]
    assert seen[0] is scope and seen[1] is receive and seen[2] is send
    assert scope == {"type": kind}
    # When the server starts the app, it may open its connections: they must be seen.
    assert bool(observer.PATCHES.names) == (kind == "lifespan")


def test_unconfigured_is_inert() -> None:
    seen: list[Any] = []

    async def app(*arguments: Any) -> None:
        seen.extend(arguments)

    scope, receive, send = {"type": "http"}, object(), object()
    asyncio.run(SeismASGI(app)(scope, receive, send))  # type: ignore[arg-type]
    assert seen[0] is scope and seen[1] is receive and seen[2] is send
    assert scope == {"type": "http"} and observer.PATCHES.names == ()


@contextmanager
def serving(app: Any, lifespan: Any = "on") -> Iterator[http.client.HTTPConnection]:
    """A real uvicorn in a thread, and a connection to it."""
    config = uvicorn.Config(app, port=0, log_config=None, lifespan=lifespan, loop="asyncio")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        eventually(lambda: server.started, "uvicorn started")
        port = server.servers[0].sockets[0].getsockname()[1]
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        yield client
        client.close()
    finally:
        server.should_exit = True
        thread.join(20)


def test_fastapi_under_uvicorn(peer: Peer) -> None:
    app = fastapi.FastAPI()

    @app.get("/users/{name}/posts/{number}")
    async def posts(name: str, number: int) -> dict[str, int]:
        return {name: number}

    @app.get("/sync")
    def sync(request: fastapi.Request) -> None:
        request.scope[ENVIRON_ROUTE] = "/named"

    @app.get("/raises")
    async def raises() -> None:
        raise KeyError("secret")

    wrapped = SeismASGI(app, sidecar=peer.address)
    assert wrapped.routes is app.routes
    paths = ["/users/ann/posts/3", "/sync", "/raises", "/users/ann/posts/x", "/nothing/12"]
    statuses = []
    with serving(wrapped) as client:
        for path in paths:
            client.request("GET", path)
            answer = client.getresponse()
            answer.read()
            statuses.append(answer.status)
            client.close()  # uvicorn does so itself after an exception
    eventually(lambda: any(r.exception for r in peer.records(RequestEnded)), "the exception")
    assert statuses == [200, 200, 500, 422, 404]
    last = {r.request: r for r in peer.wait(RequestEnded, 6)}
    assert [(r.route, r.status, r.exception) for r in last.values()] == [
        ("/users/{name}/posts/{number}", 200, ""),
        ("/named", 200, ""),
        ("/raises", 500, "KeyError"),
        ("/users/{name}/posts/{number}", 422, ""),
        ("/nothing/{id}", 404, ""),
    ]
    assert len(peer.records(RequestBegun)) == 5


def test_starlette_routes(peer: Peer) -> None:
    async def item(request: Any) -> Any:
        return starlette.responses.PlainTextResponse("x")

    routes = [starlette.routing.Route("/shops/{shop}/{rest:path}", item)]
    wrapped = SeismASGI(starlette.applications.Starlette(routes=routes), sidecar=peer.address)
    with serving(wrapped) as client:
        client.request("GET", "/shops/north/a/b")
        client.getresponse().read()
    assert peer.wait(RequestEnded)[0].route == "/shops/{shop}/{rest}"
