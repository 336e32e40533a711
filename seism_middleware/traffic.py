"""Requests, connections and claims: who runs, and who wrote which bytes of which connection.

They know one another, so they are declared together: a request has used connections, and a
connection has the claims of requests. ``current`` is a context variable, so that it follows
threads, greenlets and tasks alike.
"""

from __future__ import annotations

import re
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar, Token
from typing import Any

from seism_middleware.contract import (
    CLIENT_HEADER,
    DRIVER,
    LEDGER,
    LoggedError,
    RequestEnded,
    client_id,
    trace_of,
)
from seism_middleware.frames import frames, type_name
from seism_middleware.snapshot import snapshot
from seism_middleware.tcp import address_text, received, written

MAX_CLAIMS = 1024
"""Claims kept per connection."""
MAX_ORDER = 256
"""Pairs of what perturbations have shown of the order of questions and replies kept of one."""


_SUBSCRIBING = (b"*", b"Q", b"P")
_SUBSCRIBES = re.compile(
    rb"\*\d+\r\n\$\d+\r\n[PS]?(?:UN)?SUBSCRIBE\r\n|[QP].{4}(?:[^\0]*\0)?\s*LISTEN\s",
    re.IGNORECASE | re.DOTALL,
)
"""Redis' pub/sub commands (RESP, "Pub/Sub"), PostgreSQL's LISTEN in a Query or Parse message: their
confirmations and messages come when they like, and whoever reads next reads them."""

_WSGI_CLIENT = "HTTP_" + CLIENT_HEADER.upper().replace("-", "_")
_ASGI_CLIENT = CLIENT_HEADER.lower().encode()


class Request:
    """One request from the call of the app until the middleware is done with it.

    ``began`` and ``over`` are seconds of ``time.monotonic()``. ``over`` is later than the
    last byte of the response: code that runs in ``close()`` still works for its request.
    """

    __slots__ = (
        "began",
        "body",
        "borrowed",
        "client",
        "cpu",
        "errors",
        "exception",
        "frames",
        "id",
        "method",
        "over",
        "refused",
        "reported",
        "retry_after",
        "route",
        "scope",
        "sends",
        "status",
        "thread",
    )

    def __init__(self, id: str, method: str, began: float) -> None:
        self.id = id
        self.method = method
        self.began = began
        self.over: float | None = None
        self.route = ""
        self.client = ""
        """The id that its client gave it."""
        self.status: int | None = None
        self.body = ""
        self.retry_after = False
        self.exception = ""
        self.frames: tuple[str, ...] = ()
        self.errors: list[LoggedError] = []
        self.sends: dict[Connection, list[int]] = {}
        """Connection -> [sends, bytes]."""
        self.refused: dict[str, int] | None = None
        """Backend -> connects that failed, if any did."""
        self.borrowed: list[tuple[Connection, Claim]] = []
        """Its claims on connections that it took over with a reply outstanding."""
        self.thread = 0
        self.cpu: float | None = None
        self.reported: RequestEnded | None = None
        self.scope: Any = None
        """The WSGI environ or the ASGI scope, while it runs."""

    @property
    def trace(self) -> str:
        """The id of the trace of which the client says that it is a part, or nothing."""
        scope = self.scope or {}
        text = scope.get("HTTP_TRACEPARENT")
        if text is None:
            headers = dict(scope.get("headers", ()))
            text = headers.get(b"traceparent", b"").decode("latin-1")
        return trace_of(text)

    def of(self, scope: Any) -> None:
        """Take ``scope``, the WSGI environ or the ASGI scope, and the client's id from it."""
        self.scope = scope
        if scope is None:
            return
        text = scope.get(_WSGI_CLIENT)
        if text is None:
            for name, value in scope.get("headers", ()):
                if name == _ASGI_CLIENT:
                    text = value.decode("latin-1")
                    break
        if text:
            self.client = client_id(text)

    def raised(self, error: BaseException) -> None:
        """``error`` leaves the app."""
        self.exception = type_name(type(error))
        self.frames = frames(error.__traceback__)

    def in_flight(self, at: float) -> bool:
        """Whether it ran at ``at``, in seconds of the monotonic clock."""
        return self.began <= at and (self.over is None or self.over >= at)


current: ContextVar[Request | None] = ContextVar("seism_request", default=None)
"""The request that the running code works for, None outside of one."""


class Collection:
    """The collection of garbage that runs now, as ``gc.callbacks`` tells of it; one at a time.

    It begins at any point of any request, and runs finalizers of what others have left behind.
    A context variable cannot be set in it: up to Python 3.11 it may interrupt the setting of one.
    """

    __slots__ = ("request", "thread")

    def __init__(self) -> None:
        self.request: Request | None = None
        """The request that it has interrupted."""
        self.thread = 0

    def __call__(self, phase: str, info: Any) -> None:
        if phase == "start":
            self.thread = threading.get_ident()
            self.request = current.get()
        else:
            self.request = None

    def interrupts(self, request: Request) -> bool:
        """Whether the running code is a finalizer that runs in the midst of ``request``."""
        return self.request is request and self.thread == threading.get_ident()


collection = Collection()


def running() -> Request | None:
    """The request on whose behalf the running code sends, None if on nobody's."""
    request = current.get()
    if request is None or request.over is not None or collection.interrupts(request):
        return None
    return request


def leave(token: Token[Request | None]) -> None:
    """Reset ``current``; a generator closed in a foreign context has nothing to reset."""
    try:
        current.reset(token)
    except ValueError:
        pass


def writer() -> Any:
    """What runs now: a weak reference to the asyncio task, or the thread's ident."""
    events = sys.modules.get("asyncio.events")
    loop = None if events is None else events._get_running_loop()
    task = None if loop is None else sys.modules["asyncio.tasks"].current_task(loop)
    return threading.get_ident() if task is None else weakref.ref(task)


class Handover:
    """A request took over a connection while a reply was outstanding, or had not been read."""

    __slots__ = (
        "borrowed",
        "certain",
        "consumed",
        "found",
        "late",
        "owed",
        "suspected",
        "told",
        "trusted",
    )

    def __init__(self, found: int, owed: Request | None, late: bool) -> None:
        self.found = found
        """Bytes that had been read by then."""
        self.consumed = found
        """Bytes that had been read when the request ended, by whomever."""
        self.owed = owed
        """Whose reply that was."""
        self.late = late
        """It came when that request was over, or has not come yet."""
        self.borrowed = owed is None or owed.over is not None
        """False where the two ran at the same time: clients that do so keep replies apart."""
        self.trusted = False
        """The request has ended, as if it had been answered."""
        self.certain = False
        """Nor did it log an error."""
        self.suspected = self.told = False


class Claim:
    """``length`` bytes from ``offset`` were written for ``request`` (None: for none).

    It is not ``sure`` where a thread that a request has started may work for others, or
    where several threads write on one connection. Not sure and for none is ``unknown``.
    """

    __slots__ = (
        "arrived",
        "at",
        "handover",
        "length",
        "offset",
        "outstanding",
        "request",
        "sure",
    )

    def __init__(
        self, offset: int, length: int, request: Request | None, at: float, sure: bool = True
    ) -> None:
        self.offset = offset
        self.length = length
        self.request = request
        self.at = at
        self.sure = sure
        self.arrived = 0
        """Bytes that had arrived on the connection before it was made."""
        self.outstanding = False
        """The request has ended, and nothing has arrived since this question."""
        self.handover: Handover | None = None
        """What was wrong with the connection when the request took it over."""

    @property
    def end(self) -> int:
        return self.offset + self.length

    @property
    def unknown(self) -> bool:
        """Somebody wrote it past all that we see."""
        return self.request is None and not self.sure


class Connection:
    """One connection to a proxied backend. ``born`` and ``died`` are monotonic seconds."""

    __slots__ = (
        "answered",
        "arrived",
        "backend",
        "born",
        "broke",
        "claims",
        "died",
        "fd",
        "local",
        "opaque",
        "opener",
        "order",
        "peer",
        "sent",
        "shared",
        "sock",
        "source",
        "transport",
        "transported",
        "trap",
        "unpaired",
        "writer",
    )

    def __init__(self, backend: str, sock: Any, born: float, opener: Request | None) -> None:
        self.backend = backend
        self.source = LEDGER
        """Which evidence its claims are."""
        self.fd: int = sock.fileno()
        self.sock: Callable[[], Any] = weakref.ref(sock)
        """The socket, None once it is gone. Whoever nobody else holds has to be held here."""
        self.local = address_text(sock.getsockname())
        self.peer = ""
        self.born = born
        self.died: float | None = None
        self.broke: tuple[Request | None, float] | None = None
        """In whose call a driver lost it, and when: the call raised, and closed it or says so."""
        self.sent = 0
        self.claims: deque[Claim] = deque(maxlen=MAX_CLAIMS)
        self.opener = opener
        self.opaque = False
        """Its offsets mean nothing."""
        self.shared = False
        """Two requests had unanswered bytes on it at the same time, once at least."""
        self.transported = False
        """An asyncio transport claims for it: the socket beneath must not do so again."""
        self.answered = 0
        """Bytes that had arrived when the last claim was made."""
        self.arrived = 0
        """Bytes that had arrived when it was last looked at."""
        self.transport: Callable[[], Any] | None = None
        """A weak reference to that transport."""
        self.order: deque[tuple[int, int]] = deque(maxlen=MAX_ORDER)
        """``(asked, answers)`` of the perturbations of it, as in ``PerturbationEnded``."""
        self.trap: Callable[[Claim], None] | None = None
        """Is told the next claim, once."""
        self.unpaired = False
        """Messages arrive on it that answer no question: it has subscribed to something."""
        self.writer: Any = None
        """What wrote on it last outside of any request, see ``writer``."""

    def asks(self, data: Any) -> None:
        """Look at what is about to be sent, as far as that tells whether replies are paired."""
        if type(data) is bytes and data[:1] in _SUBSCRIBING and _SUBSCRIBES.match(data, 0, 256):
            self.unpaired = True

    def history(self) -> list[Claim]:
        """A copy of the claims, oldest first; other threads may go on claiming."""
        return snapshot(self.claims)

    def verify(self, sock: Any) -> None:
        """Compare with the kernel's count; the connection is opaque if they disagree."""
        self.arrived = received(sock)
        if self.source == DRIVER:
            return  # the kernel's count is all that its claims are made of
        count = written(sock)
        if count is None or self.opaque:
            return
        claims = self.history()
        floor = claims[-1].offset if claims and not self.transported else 0
        if count > self.sent or count < floor:
            self.opaque = True
