"""aiohttp's own server, which has neither WSGI nor ASGI.

Observed is the method of the server that answers one request: what it returns says whether the
whole response was sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from seism_middleware.contract import ENVIRON_REQUEST, ENVIRON_ROUTE
from seism_middleware.settings import LazyObserver, Settings
from seism_middleware.traffic import current, leave
from seism_middleware.wsgi import ObservedResponse

Answer = Callable[..., Awaitable[tuple[Any, bool]]]
"""``RequestHandler._handle_request(self, request, start_time, request_handler)``."""


def observed(original: Answer) -> Answer:
    """``original`` with the observer around each request; the settings are the environment's."""
    lazy = LazyObserver(Settings())

    async def handle_request(
        self: Any, request: Any, start_time: Any, request_handler: Any
    ) -> tuple[Any, bool]:
        observer = lazy.get("asgi")
        if observer is None or ENVIRON_REQUEST in request:
            return await original(self, request, start_time, request_handler)
        scope: dict[str, Any] = {}
        watched = ObservedResponse(
            observer, scope, request.method, request.path, lazy.settings.perturbation_header
        )
        request[ENVIRON_REQUEST] = watched.request.id
        token = current.set(watched.request)
        try:
            handler = _handler(request_handler, watched, scope)
            response, reset = await original(self, request, start_time, handler)
        except BaseException as error:
            watched.failed(error)
            raise
        else:
            # A response that the app has streamed is known by now only.
            watched.began(str(response.status), response.headers.items())
            if reset and not watched.request.body:
                watched.failed(ConnectionResetError())
            else:
                watched.complete()
            return response, reset
        finally:
            leave(token)
            watched.finish()

    return handle_request


def _handler(inner: Any, watched: ObservedResponse, scope: dict[str, Any]) -> Any:
    """``inner``; what it returns or raises is reported before the response can leave."""

    async def handler(request: Any) -> Any:
        try:
            response = await inner(request)
        except Exception as error:
            _note_route(request, scope)
            status = getattr(error, "status", None)  # of aiohttp's HTTPException
            if status is None:
                watched.request.raised(error)
                status = 504 if isinstance(error, asyncio.TimeoutError) else 500
            if not _started(request):
                _say(watched, status, getattr(error, "headers", {}))
            raise
        except BaseException:
            _note_route(request, scope)
            raise
        _note_route(request, scope)
        if not _started(request) and getattr(response, "status", None) is not None:
            _say(watched, response.status, response.headers)
        return response

    return handler


def _say(watched: ObservedResponse, status: int, headers: Any) -> None:
    watched.began(str(status), headers.items())
    watched.complete()


def _started(request: Any) -> bool:
    """Whether bytes of the response may have left already."""
    return bool(request.writer.output_size)


def _note_route(request: Any, scope: dict[str, Any]) -> None:
    """The pattern of the route that aiohttp has matched, if it has."""
    match = getattr(request, "match_info", None)
    resource = getattr(getattr(match, "route", None), "resource", None)
    pattern = getattr(resource, "canonical", "")
    if pattern:
        scope[ENVIRON_ROUTE] = pattern
