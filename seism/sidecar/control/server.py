"""The HTTP server of the sidecar, on gevent, with raw streams behind upgrades."""

from __future__ import annotations

import functools
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import gevent
from gevent import socket as gevent_socket
from gevent.pool import Pool
from gevent.pywsgi import WSGIHandler, WSGIServer

from seism.errors import Unavailable
from seism.model import show_address
from seism.sidecar.control.guard import Forbidden, Guard, Unauthorized
from seism.sidecar.control.peer import user_of
from seism.sidecar.control.router import TRUSTED, WSGIApp, failure
from seism_middleware.wire import PROTOCOL

logger = logging.getLogger(__name__)

CALLER = "seism.caller"
"""WSGI environ key: what tells the user that the connection is from."""
STOP_TIMEOUT = 0.1
"""Seconds that ``close`` gives running requests, which take milliseconds."""

MAX_CONNECTIONS = 2048
"""With workers' streams. Beyond it the connection goes that has been idle for longest."""
IDLE_SECONDS = 120.0
"""How long a connection may wait between requests, and take for a request's head, or a write."""

_SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\n"
    b"Connection: Upgrade\r\n"
    b"Upgrade: " + PROTOCOL.encode() + b"\r\n\r\n"
)

Upgrade = Callable[[Any, bytes], None]
"""Runs one stream: takes the gevent socket and the bytes that were read already.

It runs in the stream's own greenlet; the socket is closed when it returns.
"""


class ControlServer:
    """Listens from its making until ``close``; serves from ``start`` on."""

    def __init__(
        self,
        host: str,
        port: int,
        app: WSGIApp,
        *,
        token: str | None = None,
        upgrades: Mapping[str, Upgrade] | None = None,
        public: Callable[[str, str], bool] = lambda method, path: False,
        any_user: bool = False,
    ) -> None:
        """``upgrades`` maps paths to what runs a stream there; port 0 picks a free one.

        ``public`` says of a method and a path whether no token is needed; ``any_user``:
        without a token, every local user may call, but may not name files.

        Raises ConfigurationError if ``host`` needs a token, Unavailable if the address
        cannot be bound.
        """
        self._guard = Guard(host, token, any_user=any_user)
        self._app = app
        self.refused: Counter[int] = Counter()
        """Requests that the guard has refused, by status."""
        self.connections = 0
        self.idle: dict[Any, None] = {}
        """Handlers that wait for a request, the one first that has waited longest."""
        self.upgrades = dict(upgrades or {})
        self._public = public
        listener = _bind(host, port)
        self.address: tuple[str, int] = listener.getsockname()[:2]
        self._server = WSGIServer(
            listener,
            self._guarded,
            spawn=Pool(),
            log=None,
            error_log=logger,
            handler_class=_handler(self),
            # Given, because looking up our own name could take seconds.
            environ={"SERVER_NAME": host},
        )

    def start(self) -> None:
        self._server.start()

    def close(self) -> None:
        """Stop listening and end what still runs, streams included."""
        self._server.stop(timeout=STOP_TIMEOUT)
        self._server.close()

    def has_room(self) -> bool:
        """Whether a new connection can be served, after closing an idle one if need be."""
        if self.connections <= MAX_CONNECTIONS:
            return True
        for handler in self.idle:
            del self.idle[handler]
            handler.socket.shutdown(gevent_socket.SHUT_RDWR)
            return True
        logger.warning("control: a connection is refused: %d are busy", MAX_CONNECTIONS)
        return False

    def check(self, environ: dict[str, Any]) -> None:
        """Notes for the router whether the caller may name files. Raises Forbidden or
        Unauthorized."""
        headers = {
            key[5:].replace("_", "-").lower(): value
            for key, value in environ.items()
            if key.startswith("HTTP_")
        }
        public = self._public(environ["REQUEST_METHOD"], environ["PATH_INFO"])
        user = environ[CALLER]
        environ[TRUSTED] = self._guard.check(headers, public, user)

    def _guarded(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        try:
            self.check(environ)
        except (Forbidden, Unauthorized) as error:
            self.refused[error.status] += 1
            response = failure(str(error), error.status)
            if error.status == Unauthorized.status:
                response.headers["WWW-Authenticate"] = "Bearer"
            answered: Iterable[bytes] = response(environ, start_response)
            return answered
        return self._app(environ, start_response)


def _handler(control: ControlServer) -> type[Any]:
    class Handler(WSGIHandler):  # type: ignore[misc]
        """Serves requests; a granted upgrade takes the connection out of HTTP."""

        @functools.cached_property
        def _owner(self) -> int | None:
            return user_of(self.client_address, self.socket.getsockname())

        def _user(self) -> int | None:
            return self._owner

        def handle(self) -> None:
            rfile = self.rfile
            control.connections += 1
            try:
                if control.has_room():
                    self.socket.settimeout(IDLE_SECONDS)
                    super().handle()
                else:
                    self.socket.close()
            except (TimeoutError, ConnectionError):
                pass  # the client does not read, or has left before its refusal
            finally:
                control.connections -= 1
                # Else a later garbage collection does it, in whatever thread that is.
                rfile.close()

        def read_requestline(self) -> Any:
            control.idle[self] = None
            try:
                with gevent.Timeout(IDLE_SECONDS, OSError("no request in time")):
                    return super().read_requestline()
            finally:
                control.idle.pop(self, None)

        def read_request(self, raw_requestline: Any) -> Any:
            with gevent.Timeout(IDLE_SECONDS, ValueError("no whole head in time")):
                return super().read_request(raw_requestline)

        def handle_one_response(self) -> None:
            # Of the connection, so that it is asked for once.
            self.environ[CALLER] = self._user
            run = control.upgrades.get(self.environ["PATH_INFO"])
            if run is None or not _wants_upgrade(self.environ):
                super().handle_one_response()
                return
            try:
                control.check(self.environ)
            except (Forbidden, Unauthorized):
                super().handle_one_response()
                return
            self.close_connection = True
            _stream(self.socket, self.rfile, run)

    return Handler


def _wants_upgrade(environ: Mapping[str, Any]) -> bool:
    connection = environ.get("HTTP_CONNECTION", "").lower().split(",")
    return (
        environ["REQUEST_METHOD"] == "GET"
        and "upgrade" in [part.strip() for part in connection]
        and environ.get("HTTP_UPGRADE", "").lower() == PROTOCOL
    )


def _stream(sock: Any, rfile: Any, run: Upgrade) -> None:
    # peek() would wait for more when the buffer is empty: only what is there is taken.
    sock.settimeout(0)
    try:
        initial = rfile.peek()
    except OSError:
        initial = b""
    sock.settimeout(None)
    try:
        sock.sendall(_SWITCHING)
        run(sock, initial)
    except OSError as error:
        logger.info("a stream ended: %s", error)
    except Exception:
        logger.exception("a stream failed")


def _bind(host: str, port: int) -> Any:
    family = gevent_socket.AF_INET6 if ":" in host else gevent_socket.AF_INET
    listener = gevent_socket.socket(family, gevent_socket.SOCK_STREAM)
    try:
        listener.setsockopt(gevent_socket.SOL_SOCKET, gevent_socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except (OSError, OverflowError) as error:  # the latter for ports above 65535
        listener.close()
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise Unavailable(
            f"the control API cannot listen on {show_address(host, port)}: {reason}"
        ) from None
    return listener
