"""Observes the requests of a test suite: the test clients of frameworks are followed.

``pytest --seism`` loads it in its workers as a plug-in (``-p seism_middleware.suite``) and nobody
else does. A request of a client that calls the app is observed where the client is called. One
that goes over a socket is only marked; the server's own observer has the rest.
"""

from __future__ import annotations

import functools
import inspect
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

from seism_middleware.contract import BODY_COMPLETE, CLIENT_HEADER
from seism_middleware.frames import type_name
from seism_middleware.observer import Observer, configured
from seism_middleware.traffic import Request, current, leave

START_SECONDS = 5.0
"""How long the sidecar has to answer before the first test."""
MARK = "__seism__"
_SCOPE = "HTTP_" + CLIENT_HEADER.upper().replace("-", "_")
NOT_REQUESTS = ("starlette.testclient._Upgrade",)
"""Exceptions by which a client tells itself something."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What one request came to."""

    at: float
    """Seconds of ``time.monotonic()``."""
    duration: float
    status: int | None
    """Of an exception that left the app, 500: what its server makes of it."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case."""
    body: bytes = b""
    raised: str = ""
    """The type of the exception that the client has raised."""


class Listener(Protocol):
    """Gets each request. An exception that it raises leaves the client."""

    def begins(self, method: str, url: str) -> tuple[str, str] | None:
        """(Id, route) of a request that is about to be sent; None: it is not followed."""

    def ended(self, answered: Answered) -> None: ...


Asked = tuple[str, str, Any]
"""Method, URL or path, and the headers to which an id can be added; None: the app is called."""
Got = tuple[int, Mapping[str, str], bytes]


@dataclass(frozen=True, slots=True)
class Client:
    """A test client: ``method`` of ``name`` in ``module`` sends a request."""

    module: str
    name: str
    method: str
    asked: Callable[[Any, tuple[Any, ...], dict[str, Any]], Asked]
    """``(client, arguments, keyword arguments)``."""
    got: Callable[[Any], Got]
    checks: bool = False
    """It checks the status itself, once the response is there."""


def _lower(headers: Any) -> dict[str, str]:
    return {str(key).lower(): str(value) for key, value in headers.items()}


def _django(client: Any, args: Any, kwargs: dict[str, Any]) -> Asked:
    method = kwargs.get("REQUEST_METHOD") or kwargs.get("method") or "GET"
    return method, kwargs.get("PATH_INFO") or kwargs.get("path") or "/", None


def _django_got(response: Any) -> Got:
    body = b"" if getattr(response, "streaming", False) else response.content
    return response.status_code, _lower(response.headers), body


def _werkzeug(client: Any, args: Any, kwargs: dict[str, Any]) -> Asked:
    first = args[0] if args else kwargs.get("path", "/")
    if isinstance(first, Mapping):
        return first.get("REQUEST_METHOD", "GET"), first.get("PATH_INFO", "/"), None
    method = getattr(first, "method", None) or kwargs.get("method") or "GET"
    return method, str(getattr(first, "path", first)), None


def _werkzeug_got(response: Any) -> Got:
    body = b"" if response.is_streamed else response.get_data()
    return response.status_code, _lower(response.headers), body


def _httpx(client: Any, args: Any, kwargs: dict[str, Any]) -> Asked:
    request = args[0] if args else kwargs["request"]
    transport = client._transport_for_url(request.url)
    networked = type(transport).__name__ in ("HTTPTransport", "AsyncHTTPTransport")
    return request.method, str(request.url), request.headers if networked else None


def _httpx_got(response: Any) -> Got:
    body = response.content if response.is_stream_consumed or response.is_closed else b""
    return response.status_code, _lower(response.headers), body


def _webtest(client: Any, args: Any, kwargs: dict[str, Any]) -> Asked:
    request = args[0] if args else kwargs["req"]
    return request.method, request.path, None


def _webtest_got(response: Any) -> Got:
    return response.status_int, _lower(response.headers), response.body


def _requests(client: Any, args: Any, kwargs: dict[str, Any]) -> Asked:
    request = args[0] if args else kwargs["request"]
    return request.method or "GET", request.url or "/", request.headers


def _requests_got(response: Any) -> Got:
    body = response.content if getattr(response, "_content_consumed", False) else b""
    return response.status_code, _lower(response.headers), body


CLIENTS = (
    Client("django.test.client", "Client", "request", _django, _django_got),
    Client("django.test.client", "AsyncClient", "request", _django, _django_got),
    Client("werkzeug.test", "Client", "open", _werkzeug, _werkzeug_got),
    Client("httpx", "Client", "send", _httpx, _httpx_got),
    Client("httpx", "AsyncClient", "send", _httpx, _httpx_got),
    Client("webtest.app", "TestApp", "do_request", _webtest, _webtest_got, checks=True),
    Client("requests.sessions", "Session", "send", _requests, _requests_got),
)


class Clients:
    """Follows the clients for one listener at a time."""

    def __init__(self) -> None:
        self.listener: Listener | None = None
        """None: nothing is followed."""
        self._observer: Observer | None = None
        self._inside = False
        """A request that an app makes while it answers one belongs to that one."""

    def start(self) -> None:
        """Observe, and wait until the sidecar has told of its proxies: before that, the calls of
        drivers written in C in the first request could not be known as theirs.
        """
        self._observer = configured(None, None, "wsgi")
        if self._observer is None:
            return
        self._observer.start()
        until = time.monotonic() + START_SECONDS
        while not self._observer.ledger.is_told and time.monotonic() < until:
            time.sleep(0.01)

    def patch(self) -> None:
        """Follow the clients of all modules that are loaded now. Idempotent."""
        for client in CLIENTS:
            cls = getattr(sys.modules.get(client.module), client.name, None)
            original = getattr(cls, client.method, None)
            if cls is None or original is None or hasattr(original, MARK):
                continue
            wrap = self._async if inspect.iscoroutinefunction(original) else self._sync
            follow = wrap(original, client)
            follow = _checking(follow) if client.checks else follow
            setattr(follow, MARK, True)
            setattr(cls, client.method, follow)

    def close(self) -> None:
        """Say goodbye to the sidecar."""
        if self._observer is not None:
            self._observer.close()

    def _sync(self, original: Callable[..., Any], client: Client) -> Callable[..., Any]:
        @functools.wraps(original)
        def follow(self_: Any, *args: Any, **kwargs: Any) -> Any:
            sent = self._begin(client, self_, args, kwargs)
            if sent is None:
                return original(self_, *args, **kwargs)
            with self._running(sent):
                sent.response = original(self_, *args, **kwargs)
            return sent.response

        return follow

    def _async(self, original: Callable[..., Any], client: Client) -> Callable[..., Any]:
        @functools.wraps(original)
        async def follow(self_: Any, *args: Any, **kwargs: Any) -> Any:
            sent = self._begin(client, self_, args, kwargs)
            if sent is None:
                return await original(self_, *args, **kwargs)
            with self._running(sent):
                sent.response = await original(self_, *args, **kwargs)
            return sent.response

        return follow

    def _begin(self, client: Client, self_: Any, args: Any, kwargs: dict[str, Any]) -> Sent | None:
        listener = self.listener
        if listener is None or self._inside:
            return None
        method, url, headers = client.asked(self_, args, kwargs)
        named = listener.begins(str(method), url)
        if named is None:
            return None
        id_, route = named
        if headers is not None:
            headers[CLIENT_HEADER] = id_
            return Sent(client, listener)
        if self._observer is None:
            return Sent(client, listener)
        request = self._observer.begin(str(method), urlsplit(url).path or "/", {_SCOPE: id_})
        request.route = route
        return Sent(client, listener, self._observer, request)

    @contextmanager
    def _running(self, sent: Sent) -> Any:
        self._inside = True
        token = current.set(sent.request) if sent.request is not None else None
        is_over = True
        try:
            yield
        except Exception as error:
            sent.failed(error)
            raise
        except BaseException:
            is_over = False  # it ends the test, not the request
            raise
        finally:
            if token is not None:
                leave(token)
            self._inside = False
            if is_over:
                sent.finish()


class Sent:
    """One request on its way."""

    def __init__(
        self,
        client: Client,
        listener: Listener,
        observer: Observer | None = None,
        request: Request | None = None,
    ) -> None:
        self._client = client
        self._listener = listener
        self._observer = observer
        self.request = request
        self._began = time.monotonic()
        self.response: Any = None
        self._raised = ""

    def failed(self, error: Exception) -> None:
        """An exception has left the client."""
        self._raised = type_name(type(error))
        if self.request is not None:
            self.request.raised(error)

    def finish(self) -> None:
        """Report it: it is answered, or has failed."""
        duration = time.monotonic() - self._began
        status: int | None = None
        headers: Mapping[str, str] = {}
        body = b""
        if self.response is not None:
            status, headers, body = self._client.got(self.response)
        elif self.request is not None and self._raised not in NOT_REQUESTS:
            status = 500
        if self._observer is not None and self.request is not None:
            self.request.status, self.request.body = status, BODY_COMPLETE
            self.request.retry_after = "retry-after" in headers
            self._observer.finish(self.request)
        answered = Answered(self._began, duration, status, headers, body, self._raised)
        self._listener.ended(answered)


def _checking(follow: Callable[..., Any]) -> Callable[..., Any]:
    """WebTest's ``do_request``, which checks the status once the response has been seen."""

    @functools.wraps(follow)
    def do_request(self: Any, req: Any, status: Any = None, expect_errors: Any = None) -> Any:
        response = follow(self, req, status, True)
        if not expect_errors:
            self._check_status(status, response)
            self._check_errors(response)
        return response

    return do_request


clients = Clients()
"""Those of this process."""
