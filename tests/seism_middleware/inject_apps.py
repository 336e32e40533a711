"""Apps that know nothing of Seism, for each interface that a server may have.

``/pid`` answers the worker's process, ``/broken`` raises. Started as a program, this file serves
with the server that its first argument names, at the port that the second names.
"""

from __future__ import annotations

import os
import sys
from typing import Any


def wsgi(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    if environ["PATH_INFO"] == "/broken":
        raise KeyError("secret")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        for step in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{step}.complete"})
        return
    if scope["path"] == "/broken":
        raise KeyError("secret")
    body = str(os.getpid()).encode()
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def paste(global_config: object, **settings: str) -> Any:
    """An app factory of PasteDeploy's."""
    return wsgi


def django() -> Any:
    """A Django project in one file, under its runserver."""
    from django.conf import settings
    from django.core.management import execute_from_command_line
    from django.http import HttpResponse
    from django.urls import path

    def pid(request: Any) -> Any:
        return HttpResponse(str(os.getpid()))

    def broken(request: Any) -> Any:
        raise KeyError("secret")

    module = sys.modules[__name__]
    module.urlpatterns = [path("pid", pid), path("broken", broken)]  # type: ignore[attr-defined]
    settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="no secret")
    execute_from_command_line(["manage.py", "runserver", "--noreload", f"127.0.0.1:{sys.argv[2]}"])


def aiohttp() -> None:
    from aiohttp import web

    async def pid(request: web.Request) -> web.Response:
        return web.Response(text=str(os.getpid()))

    async def broken(request: web.Request) -> web.Response:
        raise KeyError("secret")

    async def streamed(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"one")
        await response.write_eof(b"two")
        return response

    async def away(request: web.Request) -> web.Response:
        raise web.HTTPServiceUnavailable(headers={"Retry-After": "3"})

    app = web.Application()
    app.add_routes([
        web.get("/pid", pid), web.get("/broken", broken), web.get("/items/{name}", pid),
        web.get("/streamed", streamed), web.get("/away", away),
    ])  # fmt: skip
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[2]), print=None)


def serve(server: str, port: int) -> None:
    if server == "wsgiref":
        from wsgiref.simple_server import make_server

        make_server("127.0.0.1", port, wsgi).serve_forever()
    elif server in ("werkzeug", "werkzeug reloader"):
        from werkzeug.serving import run_simple

        run_simple("127.0.0.1", port, wsgi, use_reloader=server != "werkzeug", threaded=True)
    elif server == "cheroot":
        from cheroot.wsgi import Server

        Server(("127.0.0.1", port), wsgi).start()
    elif server == "gevent":
        from gevent import monkey

        monkey.patch_all()
        from gevent.pywsgi import WSGIServer

        WSGIServer(("127.0.0.1", port), wsgi).serve_forever()
    elif server == "aiohttp":
        aiohttp()
    elif server == "django":
        django()
    elif server == "waitress":
        from waitress import serve as run

        run(wsgi, host="127.0.0.1", port=port)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
