"""The route survives every failure: one row, the pattern, in each framework."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from typing import Any

import pytest

from seism_middleware.asgi import SeismASGI
from seism_middleware.contract import RequestEnded
from seism_middleware.wsgi import SeismWSGI
from tests.seism_middleware.peer import Peer, eventually
from tests.seism_middleware.test_asgi import serving
from tests.seism_middleware.test_frameworks import ask, serving_wsgi

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:pyramid", "ignore:pkg_resources", "ignore:Deprecated call"
)

PLACES = ("nowhere", "before", "converter", "inside", "view", "handler")
"""Where it fails: nowhere; in a middleware outside of the framework, or a hook before the routing;
where the URL is resolved; in a middleware inside; in the view; in the view and its error handler.
"""


class Backend:
    """Fails at one place."""

    def __init__(self) -> None:
        self.fails = "nowhere"

    def ask(self, place: str) -> None:
        if self.fails == place or (self.fails == "handler" and place == "view"):
            raise ConnectionError(place)


def outside(app: Any, backend: Backend) -> Any:
    """A WSGI middleware around the framework."""

    class Outside:
        def __init__(self) -> None:
            self.app = app

        def __call__(self, environ: Any, start_response: Any) -> Any:
            backend.ask("before")
            return app(environ, start_response)

    return Outside()


def flask(backend: Backend) -> Any:
    from flask import Flask
    from werkzeug.routing import BaseConverter

    class Thing(BaseConverter):
        def to_python(self, value: str) -> str:
            backend.ask("converter")
            return value

    app = Flask("lost")
    app.url_map.converters["thing"] = Thing

    @app.before_request
    def inside() -> None:
        backend.ask("inside")

    @app.get("/things/<thing:name>")
    def thing(name: str) -> str:
        backend.ask("view")
        return name

    @app.get("/things/other")
    def other() -> str:
        return "other"

    @app.errorhandler(ConnectionError)
    def excuse(error: Exception) -> Any:
        backend.ask("handler")
        raise error if backend.fails == "handler" else KeyError(str(error))

    return outside(app, backend)


def pyramid(backend: Backend) -> Any:
    from pyramid.config import Configurator
    from pyramid.events import BeforeTraversal, NewRequest
    from pyramid.response import Response

    class Factory:
        def __init__(self, request: Any) -> None:
            backend.ask("converter")

    def view(context: Any, request: Any) -> Response:
        backend.ask("view")
        return Response("x")

    def excuse(error: Exception, request: Any) -> Response:
        backend.ask("handler")
        raise KeyError(str(error))

    with Configurator() as config:
        config.add_subscriber(lambda event: backend.ask("before"), NewRequest)
        config.add_subscriber(lambda event: backend.ask("inside"), BeforeTraversal)
        config.add_route("other", "/things/other")
        config.add_route("thing", "/things/{name}", factory=Factory)
        config.add_view(view, route_name="thing")
        config.add_view(lambda request: Response("x"), route_name="other")
        config.add_exception_view(excuse, context=ConnectionError)
        return config.make_wsgi_app()


def bottle(backend: Backend) -> Any:
    from bottle import Bottle

    app = Bottle()

    def convert(text: str) -> str:
        backend.ask("converter")
        return text

    app.router.add_filter("thing", lambda config: (r"[^/]+", convert, str))
    app.add_hook("before_request", lambda: backend.ask("before"))

    @app.get("/things/<name:thing>")
    def thing(name: str) -> str:
        backend.ask("inside")
        backend.ask("view")
        return name

    @app.error(500)
    def excuse(error: Any) -> str:
        backend.ask("handler")
        return "sorry"

    return outside(app, backend)


class PathConverter:
    """Of Django."""

    regex = "[a-z]+"
    backend = Backend()

    def to_python(self, value: str) -> str:
        self.backend.ask("converter")
        return value

    def to_url(self, value: str) -> str:
        return value


def django_middleware(get_response: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def ask_first(request: Any) -> Any:
        PathConverter.backend.ask("before")
        return get_response(request)

    ask_first.process_view = lambda *_: PathConverter.backend.ask("inside")  # type: ignore[attr-defined]
    return ask_first


def django(backend: Backend) -> Any:
    from django.http import HttpResponse
    from django.test.utils import override_settings
    from django.urls import get_resolver, include, path, re_path, register_converter

    from tests.seism_middleware import apps

    apps.django("wsgi")  # configures Django
    from django.core.wsgi import get_wsgi_application

    def view(request: Any, name: str) -> HttpResponse:
        PathConverter.backend.ask("view")
        return HttpResponse(name)

    PathConverter.backend = backend
    with contextlib.suppress(ValueError):
        register_converter(PathConverter, "lost")
    resolver = get_resolver()
    patterns = [re_path("^other$", lambda request: HttpResponse("x")), path("<lost:name>", view)]
    resolver.url_patterns.insert(0, path("things/", include(patterns)))
    with override_settings(MIDDLEWARE=[f"{__name__}.django_middleware"]):
        return get_wsgi_application()


def starlette(backend: Backend) -> Any:
    from starlette.applications import Starlette
    from starlette.convertors import Convertor, register_url_convertor
    from starlette.middleware import Middleware
    from starlette.responses import PlainTextResponse
    from starlette.routing import Mount, Route

    class Thing(Convertor[str]):
        regex = "[a-z]+"

        def convert(self, value: str) -> str:
            backend.ask("converter")
            return value

        def to_string(self, value: str) -> str:
            return value

    class Before:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                backend.ask("before")
            await self.app(scope, receive, send)

    class Inside(Before):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            backend.ask("inside")
            await self.app(scope, receive, send)

    async def view(request: Any) -> PlainTextResponse:
        backend.ask("view")
        return PlainTextResponse("x")

    async def excuse(request: Any, error: Exception) -> PlainTextResponse:
        backend.ask("handler")
        return PlainTextResponse("sorry", 500)

    register_url_convertor("thing", Thing())
    route = Route("/{name:thing}", view, middleware=[Middleware(Inside)])
    return Starlette(
        routes=[Mount("/things", routes=[route])],
        middleware=[Middleware(Before)],
        exception_handlers={ConnectionError: excuse},
    )


def fastapi(backend: Backend) -> Any:
    from fastapi import Depends, FastAPI, Request
    from fastapi.responses import JSONResponse

    app = FastAPI()

    @app.middleware("http")
    async def before(request: Request, call_next: Any) -> Any:
        backend.ask("before")
        return await call_next(request)

    def dependency() -> None:
        backend.ask("converter")
        backend.ask("inside")

    @app.get("/things/{name}", dependencies=[Depends(dependency)])
    def thing(name: str) -> str:
        backend.ask("view")
        return name

    @app.exception_handler(ConnectionError)
    async def excuse(request: Request, error: Exception) -> JSONResponse:
        backend.ask("handler")
        return JSONResponse("sorry", 500)

    return app


WSGI = {"flask": flask, "pyramid": pyramid, "bottle": bottle, "django": django}
ASGI = {"starlette": starlette, "fastapi": fastapi}


@pytest.mark.parametrize("name", [*WSGI, *ASGI])
def test_a_failure_anywhere_is_in_the_row_of_the_pattern(name: str, peer: Peer) -> None:
    backend = Backend()
    logging.getLogger("waitress").addHandler(logging.NullHandler())
    logging.getLogger("django").addHandler(logging.NullHandler())
    if name in WSGI:
        served: Any = serving_wsgi(SeismWSGI(WSGI[name](backend), peer.address))
    else:
        served = serving(SeismASGI(ASGI[name](backend), peer.address), "auto")
    with served as client:
        statuses = []
        for place in PLACES:
            backend.fails = place
            statuses.append(ask(client, "/things/blue"))
    wanted = len(PLACES)
    eventually(lambda: len({r.request for r in peer.records(RequestEnded)}) == wanted, "all")
    last = {r.request: r for r in peer.records(RequestEnded)}
    assert statuses == [200, 500, 500, 500, 500, 500]
    assert [r.route for r in last.values()] == ["/things/{name}"] * wanted


def test_what_no_framework_routes_has_its_path(peer: Peer) -> None:
    backend = Backend()
    with serving_wsgi(SeismWSGI(flask(backend), peer.address)) as client:
        assert ask(client, "/nothing/12") == 404
        backend.fails = "before"
        assert ask(client, "/nothing/12") == 500
        assert ask(client, "/things/other") == 500
    eventually(lambda: len(peer.records(RequestEnded)) == 3, "all")
    assert [r.route for r in peer.records(RequestEnded)] == [
        "/nothing/{id}",
        "/nothing/{id}",
        "/things/other",
    ]
