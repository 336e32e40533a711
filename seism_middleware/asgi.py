"""The observer around an ASGI app (ASGI 3, HTTP and WebSocket message format 2.x)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from seism_middleware import signals
from seism_middleware.contract import (
    BODY_COMPLETE,
    BODY_NONE,
    BODY_TRUNCATED,
    ENVIRON_REQUEST,
    ENVIRON_ROUTE,
)
from seism_middleware.lost_route import Finder, find
from seism_middleware.observer import Observer
from seism_middleware.route import fill
from seism_middleware.settings import LazyObserver, Settings
from seism_middleware.shown import shows
from seism_middleware.traffic import current, leave
from seism_middleware.wsgi import shown, went_wrong

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class SeismASGI:
    """Wraps ``app``; options and attributes are those of ``SeismWSGI``.

    Only ``http`` scopes are observed, all others pass through untouched.
    """

    def __init__(self, app: App, sidecar: str | None = None, **options: Any) -> None:
        self._lazy = LazyObserver(Settings.of({"sidecar": sidecar, **options}))
        self.app = app

    def __getattr__(self, name: str) -> Any:
        if name == "app":
            raise AttributeError(name)
        return getattr(self.app, name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                self._start()
            await self.app(scope, receive, send)
            return
        observer = self._lazy.get("asgi", self.app)
        if observer is None or ENVIRON_REQUEST in scope:
            await self.app(scope, receive, send)
            return
        shows = self._lazy.settings.perturbation_header
        response = _Response(observer, scope, send, shows, self._lazy.finders)
        await response.run(self.app, receive)

    def _start(self) -> None:
        """The server starts the app, which may open its connections now, in no request."""
        observer = self._lazy.get("asgi", self.app)
        if observer is not None:
            observer.start()


class _Response:
    """What happens to one request."""

    __slots__ = (
        "_complete", "_expected", "_finders", "_gone", "_observer", "_receive", "_request",
        "_scope", "_send", "_sent", "_shows", "_started",
    )  # fmt: skip

    def __init__(
        self,
        observer: Observer,
        scope: Scope,
        send: Send,
        shows: bool,
        finders: tuple[Finder, ...],
    ) -> None:
        self._observer = observer
        self._finders = finders
        self._shows = shows
        self._scope = scope
        self._send = send
        self._request = observer.begin(scope["method"], scope["path"], scope)
        self._expected: int | None = None
        self._sent = 0
        self._started = False
        self._complete = False
        self._gone = False

    @shows("request")
    async def run(self, app: App, receive: Receive) -> None:
        self._receive = receive
        request = self._request
        self._scope[ENVIRON_REQUEST] = request.id
        token = current.set(request)
        try:
            await app(self._scope, self.receive, self.send)
        except BaseException as error:
            self._failed(error)
            raise
        else:
            if not self._complete:
                self._report(BODY_TRUNCATED if self._started else self._unanswered())
        finally:
            leave(token)
            self._observer.finish(request)

    async def receive(self) -> Message:
        """The server's next message; remembers that the client has gone."""
        message = await self._receive()
        if message["type"] == "http.disconnect" and not self._complete:
            self._gone = True
        return message

    async def send(self, message: Message) -> None:
        """Pass ``message`` on; the observation leaves before the last byte does."""
        kind = message["type"]
        if kind == "http.response.body":
            self._sent += len(message.get("body", b""))
            last = not message.get("more_body", False)
            full = self._expected is not None and 0 < self._expected <= self._sent
            if (last or full) and not self._complete:
                short = self._expected is not None and self._sent < self._expected
                self._complete = not (short or self._gone)
                self._report(BODY_COMPLETE if self._complete else BODY_TRUNCATED)
        elif kind == "http.response.start":
            signals.send("response_started", self._observer, self._request.id)
            if self._shows:
                more = [(n.lower().encode(), v.encode()) for n, v in shown(self._request.id)]
                message = {**message, "headers": [*message.get("headers", ()), *more]}
        elif kind == "http.response.pathsend":
            self._complete = True
            self._report(BODY_COMPLETE)
        try:
            await self._send(message)
        except BaseException:
            self._complete = False
            raise
        if kind == "http.response.start":
            self._began(message)

    def _began(self, message: Message) -> None:
        request = self._request
        self._started = True
        request.status = message["status"]
        for name, value in message.get("headers", ()):
            lower = name.lower()
            if lower == b"content-length" and value.isdigit():
                self._expected = int(value)
            elif lower == b"retry-after":
                request.retry_after = True
        if request.method == "HEAD" or request.status in (204, 304):
            self._expected = None

    def _failed(self, error: BaseException) -> None:
        """As in WSGI; a response that was complete stays so, with the exception beside it."""
        request = self._request
        request.raised(error)
        if self._complete:
            body = BODY_COMPLETE
        elif self._started:
            body = BODY_TRUNCATED
        elif isinstance(error, Exception):
            body = self._unanswered()
        else:
            body = BODY_NONE
        self._report(body)

    def _unanswered(self) -> str:
        """Nothing was sent: the server answers with a 500 of its own, if anyone is there."""
        if self._gone:
            return BODY_NONE
        self._request.status = 500
        return BODY_COMPLETE

    def _report(self, body: str) -> None:
        request = self._request
        request.body = body
        if not request.route:
            request.route = self._route()
        self._observer.report(request)

    def _route(self) -> str:
        """What the app or its framework says; frameworks write to the scope they are given."""
        scope = self._scope
        named = scope.get(ENVIRON_ROUTE)
        if named:
            return str(named)
        route = scope.get("route")
        pattern = getattr(route, "path_format", None) or getattr(route, "path", None)
        # A mount with routes of its own has not got any further.
        if isinstance(pattern, str) and not getattr(route, "routes", None):
            return str(scope.get("root_path", "")) + pattern
        if went_wrong(self._request) and (found := find(self._finders, scope)):
            return found
        path = str(scope.get("path", ""))
        if scope.get("endpoint") is not None:
            return fill(path, scope.get("path_params") or {})
        return self._observer.routes.name(path)
