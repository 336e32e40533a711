"""The request ledger: which request the running code works for.

``current`` is a context variable, so that it follows threads, greenlets and tasks alike.
"""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any

from seism_middleware.contract import LoggedError, RequestEnded
from seism_middleware.frames import frames

if TYPE_CHECKING:
    from seism_middleware.ledger import Claim, Connection


class Request:
    """One request from the call of the app until the middleware is done with it.

    ``began`` and ``over`` are seconds of ``time.monotonic()``. ``over`` is later than the
    last byte of the response: code that runs in ``close()`` still works for its request.
    """

    __slots__ = (
        "began",
        "body",
        "borrowed",
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
        parts = text.split("-")
        return parts[1].lower() if len(parts) >= 4 and len(parts[1]) == 32 else ""

    def raised(self, error: BaseException) -> None:
        """``error`` leaves the app."""
        self.exception = type_name(type(error))
        self.frames = frames(error.__traceback__)

    def in_flight(self, at: float) -> bool:
        """Whether it ran at ``at``, in seconds of the monotonic clock."""
        return self.began <= at and (self.over is None or self.over >= at)


current: ContextVar[Request | None] = ContextVar("seism_request", default=None)
"""The request that the running code works for, None outside of one."""


def leave(token: Token[Request | None]) -> None:
    """Reset ``current``; a generator closed in a foreign context has nothing to reset."""
    try:
        current.reset(token)
    except ValueError:
        pass


def type_name(error: type[Any]) -> str:
    """The dotted name of an exception's type, built-ins without their module."""
    module = error.__module__
    return error.__qualname__ if module == "builtins" else f"{module}.{error.__qualname__}"
