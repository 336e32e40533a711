"""The same small app in each framework: five routes, and how each is wrapped.

``/items/{name}`` answers, ``/busy/{name}`` is a handled 503 with Retry-After,
``/raises/{name}`` raises, ``/breaks/{name}`` raises after its first chunk.
"""

from __future__ import annotations

import types
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from seism_middleware.asgi import SeismASGI
from seism_middleware.wsgi import SeismWSGI

Build = Callable[[str], Any]
"""The sidecar's address -> the app."""


class Busy(Exception):
    """The backend is not there; each app turns it into a 503."""


def broken() -> Iterator[bytes]:
    yield b"one"
    raise KeyError("secret")


async def broken_async() -> AsyncIterator[bytes]:
    yield b"one"
    raise KeyError("secret")


def pyramid(**settings: str) -> Any:
    from pyramid.config import Configurator
    from pyramid.response import Response

    def item(request: Any) -> Response:
        return Response(request.matchdict["name"])

    def busy(request: Any) -> Response:
        raise Busy

    def raises(request: Any) -> Response:
        raise KeyError("secret")

    def breaks(request: Any) -> Response:
        return Response(app_iter=broken())

    def excuse(error: Any, request: Any) -> Response:
        return Response("busy", status=503, headers={"Retry-After": "1"})

    views = {"items": item, "busy": busy, "raises": raises, "breaks": breaks}
    with Configurator(settings=settings) as config:
        for name, view in views.items():
            config.add_route(name, f"/{name}/{{name:[a-z]{{1,9}}}}")
            config.add_view(view, route_name=name)
        config.add_exception_view(excuse, context=Busy)
        if settings.get("excused"):
            config.add_exception_view(
                lambda error, request: Response("sorry", status=500), context=KeyError
            )
        return config.make_wsgi_app()


def flask() -> Any:
    from flask import Flask, Response

    app = Flask("small")

    @app.get("/items/<string(maxlength=9):name>")
    def items(name: str) -> str:
        return name

    @app.get("/busy/<name>")
    def busy(name: str) -> str:
        raise Busy

    @app.get("/raises/<name>")
    def raises(name: str) -> str:
        raise KeyError("secret")

    @app.get("/breaks/<name>")
    def breaks(name: str) -> Response:
        return Response(broken())

    @app.errorhandler(Busy)
    def excuse(error: Busy) -> Any:
        return "busy", 503, {"Retry-After": "1"}

    return app


def django(kind: str, sidecar: str | None = None, **options: Any) -> Any:
    """A Django handler; with ``sidecar`` it has our line in ``MIDDLEWARE``."""
    import django as package
    from django.conf import settings
    from django.core.asgi import get_asgi_application
    from django.core.wsgi import get_wsgi_application
    from django.test.utils import override_settings

    if not settings.configured:
        settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=urls(), DEBUG=False)
        package.setup()
    line = "seism_middleware.django.SeismMiddleware"
    own = "tests.seism_middleware.apps.excuse"
    get = {"wsgi": get_wsgi_application, "asgi": get_asgi_application}[kind]
    with override_settings(
        MIDDLEWARE=[line, own] if sidecar else [own], SEISM={"sidecar": sidecar, **options}
    ):
        return get()


def excuse(get_response: Any) -> Any:
    """A Django middleware that makes the 503; one for either interface."""
    from asgiref.sync import iscoroutinefunction
    from django.http import HttpResponse

    def answer(request: Any, error: Exception) -> Any:
        if not isinstance(error, Busy):
            return None
        return HttpResponse("busy", status=503, headers={"Retry-After": "1"})

    if iscoroutinefunction(get_response):

        async def through_async(request: Any) -> Any:
            return await get_response(request)

        through: Any = through_async
    else:

        def through(request: Any) -> Any:
            return get_response(request)

    through.process_exception = answer
    return through


excuse.sync_capable = excuse.async_capable = True  # type: ignore[attr-defined]


def urls() -> Any:
    from django.http import HttpResponse, StreamingHttpResponse
    from django.urls import include, path, re_path

    def items(request: Any, name: str) -> HttpResponse:
        return HttpResponse(name)

    async def busy(request: Any, name: str) -> HttpResponse:
        raise Busy

    def raises(request: Any, name: str) -> HttpResponse:
        raise KeyError("secret")

    def breaks(request: Any, name: str) -> StreamingHttpResponse:
        if not hasattr(request, "scope"):
            return StreamingHttpResponse(broken())
        request._stream.close()  # Django leaves it open where a stream breaks
        return StreamingHttpResponse(broken_async())

    module = types.ModuleType("small_urls")
    module.urlpatterns = [  # type: ignore[attr-defined]
        path("items/", include([path("<str:name>", items)])),
        re_path(r"^busy/(?P<name>[a-z]+(?:x)?)$", busy),
        path("raises/<slug:name>", raises),
        path("breaks/<name>", breaks),
    ]
    return module


def starlette(fast: bool = False) -> Any:
    from fastapi import FastAPI
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse, StreamingResponse
    from starlette.routing import Route

    async def items(name: str) -> Any:
        return PlainTextResponse(name)

    async def busy(name: str) -> Any:
        raise Busy

    async def raises(name: str) -> Any:
        raise KeyError("secret")

    async def breaks(name: str) -> Any:
        return StreamingResponse(broken_async())

    async def excuse(request: Any, error: Exception) -> Any:
        return PlainTextResponse("busy", 503, {"Retry-After": "1"})

    def through(view: Any) -> Any:
        async def called(request: Any) -> Any:
            return await view(**request.path_params)

        return called

    views = {"items": items, "busy": busy, "raises": raises, "breaks": breaks}
    app: Any
    if fast:
        app = FastAPI()
        for name, view in views.items():
            app.add_api_route(f"/{name}/{{name}}", view, response_model=None)
    else:
        app = Starlette(
            routes=[Route(f"/{name}/{{name:str}}", through(v)) for name, v in views.items()]
        )
    app.add_exception_handler(Busy, excuse)
    return app


def _with_extension(sidecar: str, **options: Any) -> Any:
    from seism_middleware.flask import Seism

    app = flask()
    app.config["SEISM_SIDECAR"] = sidecar
    Seism(**options).init_app(app)
    return app


def _added(fast: bool) -> Build:
    def build(sidecar: str) -> Any:
        app = starlette(fast)
        app.add_middleware(SeismASGI, sidecar=sidecar)
        return app

    return build


def _tween(**settings: str) -> Build:
    return lambda sidecar: pyramid(
        **{"pyramid.includes": "seism_middleware", "seism.sidecar": sidecar, **settings}
    )


def _outside(build: Build) -> Build:
    """The same, with a wrapper around it as well."""
    return lambda sidecar: SeismWSGI(build(sidecar), sidecar)


def _outside_async(build: Build) -> Build:
    return lambda sidecar: SeismASGI(build(sidecar), sidecar)


def _no_wrapper_inside(app: Callable[[], Any]) -> Build:
    return lambda sidecar: app()


RAISES, ANSWERS = "KeyError", ""
"""What is seen of an unhandled exception: itself, or only the 500 that was made of it."""

SETUPS: dict[str, tuple[str, Build, str]] = {
    "pyramid filter": ("wsgi", _outside(_no_wrapper_inside(pyramid)), RAISES),
    "pyramid tween": ("wsgi", _tween(), RAISES),
    "pyramid filter and tween": ("wsgi", _outside(_tween()), RAISES),
    "pyramid tween, exception view": ("wsgi", _tween(excused="yes"), ANSWERS),
    "flask wsgi_app": ("wsgi", _with_extension, ANSWERS),
    "flask wrapped": ("wsgi", _outside(_no_wrapper_inside(flask)), ANSWERS),
    "flask both": ("wsgi", _outside(_with_extension), ANSWERS),
    "django wsgi": ("wsgi", lambda sidecar: django("wsgi", sidecar), ANSWERS),
    "django wsgi wrapped": ("wsgi", _outside(lambda _: django("wsgi")), ANSWERS),
    "django wsgi both": ("wsgi", _outside(lambda s: django("wsgi", s)), ANSWERS),
    "django asgi": ("asgi", lambda sidecar: django("asgi", sidecar), ANSWERS),
    "django asgi wrapped": ("asgi", _outside_async(lambda _: django("asgi")), ANSWERS),
    "django asgi both": ("asgi", _outside_async(lambda s: django("asgi", s)), ANSWERS),
    "starlette added": ("asgi", _added(False), RAISES),
    "starlette wrapped": ("asgi", _outside_async(lambda _: starlette()), RAISES),
    "starlette both": ("asgi", _outside_async(_added(False)), RAISES),
    "fastapi added": ("asgi", _added(True), RAISES),
    "fastapi wrapped": ("asgi", _outside_async(lambda _: starlette(True)), RAISES),
}
"""Name -> (interface, how to build it, what is seen of an unhandled exception)."""

SHOWING: dict[str, tuple[str, Build]] = {
    "pyramid": ("wsgi", _tween(**{"seism.perturbation_header": "yes"})),
    "flask": ("wsgi", lambda s: _with_extension(s, perturbation_header="on")),
    "django wsgi": ("wsgi", lambda s: django("wsgi", s, perturbation_header=True)),
    "django asgi": ("asgi", lambda s: django("asgi", s, perturbation_header=True)),
    "starlette": ("asgi", lambda s: SeismASGI(starlette(), s, perturbation_header=True)),
}
"""Name -> (interface, how to build one whose responses say what hit them)."""
