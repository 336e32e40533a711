"""What the applications of the pairs share: a route that asks, and an honest 503 if that fails."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from seism_middleware.asgi import SeismASGI
from seism_middleware.wsgi import Environ, SeismWSGI, StartResponse

log = logging.getLogger("app")
Errors = tuple[type[BaseException], ...]


def asgi(
    ask: Callable[[], Awaitable[object]],
    errors: Errors,
    *,
    cancels: bool = False,
    backend: str = "backend",
) -> Any:
    """An app that answers once it has asked ``backend``, and 503 for ``errors``.

    ``cancels``: a request whose client has gone is cancelled, as Django, Quart and Sanic do.
    """

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            with contextlib.suppress(Exception):
                while True:
                    await send({"type": (await receive())["type"] + ".complete"})
            return
        status, headers = 200, []
        try:
            await (_while_connected(ask, receive) if cancels else ask())
        except errors as error:
            log.error("%s: %s", backend, type(error).__name__)
            status, headers = 503, [(b"retry-after", b"1")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"x"})

    return SeismASGI(serve)


async def _while_connected(ask: Callable[[], Awaitable[object]], receive: Any) -> None:
    async def gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    work, left = asyncio.ensure_future(ask()), asyncio.ensure_future(gone())
    await asyncio.wait((work, left), return_when=asyncio.FIRST_COMPLETED)
    if not work.done():
        work.cancel()
    left.cancel()
    await work


def wsgi(ask: Callable[[], object], errors: Errors) -> Any:
    """The same under WSGI."""

    def serve(environ: Environ, start: StartResponse) -> list[bytes]:
        status, headers = "200 OK", [("Content-Type", "text/plain"), ("Content-Length", "1")]
        try:
            ask()
        except errors as error:
            log.error("backend: %s", type(error).__name__)
            status, headers = "503 Service Unavailable", [*headers, ("Retry-After", "1")]
        start(status, headers)
        return [b"x"]

    return SeismWSGI(serve)
