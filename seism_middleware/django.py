"""Django: ``seism_middleware.django.SeismMiddleware``, the first line of ``MIDDLEWARE``.

Options are in the setting ``SEISM``, a dictionary; it may be absent. What Django makes of an
exception is what this sees: a 500. A body that breaks while it is streamed is seen as well.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from seism_middleware.contract import ENVIRON_REQUEST
from seism_middleware.frameworks import django_environ, django_matched
from seism_middleware.lost_route import django_finder
from seism_middleware.settings import LazyObserver, Settings
from seism_middleware.traffic import current, leave
from seism_middleware.wsgi import ObservedResponse


class SeismMiddleware:
    """Observes every request, under WSGI and ASGI, with sync and async views.

    Raises ValueError for an option that does not exist or has a value that it cannot have.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        from asgiref.sync import iscoroutinefunction, markcoroutinefunction
        from django.conf import settings

        self._get_response = get_response
        self._lazy = LazyObserver(Settings.of(getattr(settings, "SEISM", {})))
        self._async = iscoroutinefunction(get_response)
        if self._async:
            markcoroutinefunction(self)

    def __call__(self, request: Any) -> Any:
        watched = self._watch(request)
        if self._async:
            return self._respond(request, watched)
        if watched is None:
            response = self._get_response(request)
            django_matched(request, request.resolver_match)
            return response
        return _answered(request, watched, watched.call(self._get_response, request))

    async def _respond(self, request: Any, watched: ObservedResponse | None) -> Any:
        if watched is None:
            response = await self._get_response(request)
            django_matched(request, request.resolver_match)
            return response
        token = current.set(watched.request)
        try:
            response = await self._get_response(request)
        except BaseException as error:
            watched.failed(error)
            watched.finish()
            raise
        finally:
            leave(token)
        return _answered(request, watched, response)

    def _watch(self, request: Any) -> ObservedResponse | None:
        observer = self._lazy.get("asgi" if hasattr(request, "scope") else "wsgi")
        environ = django_environ(request)
        if observer is None or ENVIRON_REQUEST in environ:
            return None
        shows = self._lazy.settings.perturbation_header
        finders = (django_finder(),)
        return ObservedResponse(observer, environ, request.method, request.path, shows, finders)


def _answered(request: Any, watched: ObservedResponse, response: Any) -> Any:
    """``response``, its body counted; the request ends when the server closes it."""
    django_matched(request, request.resolver_match)
    for name, value in watched.call(watched.starting):
        response[name] = value
    watched.began(str(response.status_code), response.items())
    if getattr(response, "file_to_stream", None) is not None:
        watched.complete()  # the server may send the file by itself
    elif not response.streaming:
        watched.complete()  # Django has all of it, and its length
    elif response.is_async:
        response.streaming_content = _stream(watched, response.streaming_content)
    else:
        response.streaming_content = watched.wrap(response.streaming_content)
        return response  # which closes its content
    response._resource_closers.append(watched.close)
    return response


async def _stream(watched: ObservedResponse, content: Any) -> AsyncIterator[bytes]:
    iterator = aiter(content)
    try:
        while True:
            token = current.set(watched.request)
            try:
                chunk = await anext(iterator)
            except StopAsyncIteration:
                watched.ended()
                return
            except BaseException as error:
                watched.failed(error)
                raise
            finally:
                leave(token)
            watched.count(chunk)
            yield chunk
    finally:
        watched.close()  # Django does not close what a client has left
