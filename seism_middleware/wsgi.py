"""The observer around a WSGI app (PEP 3333)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from seism_middleware import signals
from seism_middleware.affected import AFFECTED, certain
from seism_middleware.contract import (
    BODY_COMPLETE,
    BODY_NONE,
    BODY_TRUNCATED,
    ENVIRON_REQUEST,
    ENVIRON_ROUTE,
    PERTURBATION_HEADER,
)
from seism_middleware.observer import Observer, configured, parse_address
from seism_middleware.request import Request, current, leave, type_name

Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], object]]
App = Callable[[Environ, StartResponse], Iterable[bytes]]

_NOTHING: Iterator[bytes] = iter(())
_log = logging.getLogger(__name__)


class SeismWSGI:
    """Wraps ``app``; attributes that it does not have itself are the app's.

    ``sidecar`` (``host:port`` of its control address) and ``token`` default to the
    environment's ``SEISM_SIDECAR`` and ``SEISM_TOKEN``, read at the first request. Without a
    sidecar requests go straight through. ``statsd`` is ``host:port`` of a statsd server, and
    ``statsd_prefix`` opens the names of its metrics. With ``perturbation_header`` a response
    says in ``Seism-Perturbation`` what is known to have hit its request when the headers leave.

    Raises ValueError for a ``sidecar`` or ``statsd`` that is no address.
    """

    def __init__(
        self,
        app: App,
        sidecar: str | None = None,
        token: str | None = None,
        statsd: str | None = None,
        statsd_prefix: str = "seism",
        perturbation_header: bool = False,
    ) -> None:
        if sidecar:
            parse_address(sidecar)
        if statsd:
            parse_address(statsd, 8125)
        self.app = app
        self._options = (sidecar, token, "wsgi", statsd, statsd_prefix)
        self._shows = perturbation_header
        self._observer: Observer | None = None
        self._decided = False

    def __getattr__(self, name: str) -> Any:
        if name == "app":  # not there yet: copying and unpickling ask before __init__
            raise AttributeError(name)
        return getattr(self.app, name)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if not self._decided:
            self._observer = decide(self._options)
            if self._shows:
                AFFECTED.follow()
            self._decided = True
        if self._observer is None:
            return self.app(environ, start_response)
        return _Response(self._observer, environ, self._shows).run(self.app, start_response)


def shown(request: str) -> list[tuple[str, str]]:
    """The header that says what is known to have hit ``request``, if anything is."""
    perturbations = certain(AFFECTED.of(request))
    return [(PERTURBATION_HEADER, perturbations)] if perturbations else []


def decide(options: tuple[str | None, str | None, str, str | None, str]) -> Observer | None:
    """The observer for ``options``; a bad address in the environment is said, not raised."""
    try:
        return configured(*options)
    except ValueError as error:
        _log.error("requests are not observed: %s", error)
        return None


class _Response:
    """What happens to one request, and the iterable that the server gets for it."""

    __slots__ = (
        "_environ", "_expected", "_iterable", "_iterator", "_left", "_observer", "_path",
        "_request", "_sent", "_shows",
    )  # fmt: skip

    def __init__(self, observer: Observer, environ: Environ, shows: bool) -> None:
        self._observer = observer
        self._shows = shows
        self._environ = environ
        self._path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        self._request: Request = observer.begin(environ["REQUEST_METHOD"], self._path)
        self._expected: int | None = None
        self._sent = 0
        self._iterable: Iterable[bytes] = ()
        self._iterator: Iterator[bytes] = _NOTHING
        self._left = -1
        """Chunks to come, where that is known."""

    def run(self, app: App, start_response: StartResponse) -> Iterable[bytes]:
        environ = self._environ
        environ[ENVIRON_REQUEST] = self._request.id
        token = current.set(self._request)
        try:
            self._iterable = iterable = app(environ, self._start_response(start_response))
            self._iterator = iter(iterable)
        except BaseException as error:
            self._failed(error)
            self._observer.finish(self._request)
            raise
        finally:
            leave(token)
        if type(iterable) is list:
            self._left = len(iterable)
            return _ListBody(self, self._left)
        wrapper = environ.get("wsgi.file_wrapper")
        if type(wrapper) is type and isinstance(iterable, wrapper):
            # The server looks for its own type, to send the file without reading it.
            self._report(BODY_COMPLETE)
            self._observer.finish(self._request)
            return iterable
        if isinstance(self._iterable, list | tuple):
            self._left = len(self._iterable)
            return _SizedBody(self, self._left)
        return _Body(self)

    def _start_response(self, real: StartResponse) -> StartResponse:
        def start_response(
            status: str, headers: list[tuple[str, str]], exc_info: Any = None, /
        ) -> Callable[[bytes], object]:
            signals.send("response_started", self._observer, self._request.id)
            if self._shows:
                headers = [*headers, *shown(self._request.id)]
            try:
                write = real(status, headers, exc_info) if exc_info else real(status, headers)
            finally:
                exc_info = None  # a traceback holds the frames, and they hold it
            self._began(status, headers)

            def counted(data: bytes) -> object:
                self._count(data)
                return write(data)

            return counted

        return start_response

    def _began(self, status: str, headers: list[tuple[str, str]]) -> None:
        request = self._request
        code = status[:3]
        request.status = int(code) if code.isdigit() else None
        self._expected = None
        request.retry_after = False
        for name, value in headers:
            lower = name.lower()
            if lower == "content-length" and value.strip().isdigit():
                self._expected = int(value)
            elif lower == "retry-after":
                request.retry_after = True
        if request.method == "HEAD" or request.status in (204, 304):
            self._expected = 0

    def _count(self, chunk: bytes) -> None:
        """``chunk`` is about to leave; the observation must, if that completes the response."""
        self._sent += len(chunk)
        if self._left > 0:
            self._left -= 1
        if self._expected is None:
            done = self._left == 0
        else:
            done = 0 < self._expected <= self._sent
            done = done or self._left == 0
        if done and self._request.status is not None:
            self._report(self._ending())

    def _ending(self) -> str:
        short = self._expected is not None and self._sent < self._expected
        return BODY_TRUNCATED if short else BODY_COMPLETE

    def _report(self, body: str) -> None:
        request = self._request
        request.body = body
        if not request.route:
            told = self._environ.get(ENVIRON_ROUTE)
            request.route = told or self._observer.routes.name(self._path)
        self._observer.report(request)

    def _failed(self, error: BaseException) -> None:
        """An exception leaves the app: a 500 if nothing was sent, a broken response otherwise.

        The likes of SystemExit end the worker: there is no response then.
        """
        request = self._request
        request.exception = type_name(type(error))
        if self._sent:
            body = BODY_COMPLETE if self._complete else BODY_TRUNCATED
        elif isinstance(error, Exception):
            request.status, request.retry_after, body = 500, False, BODY_COMPLETE
        else:
            request.status, request.retry_after, body = None, False, BODY_NONE
        self._report(body)

    @property
    def _complete(self) -> bool:
        """Whether the client can tell that it has all of the response."""
        return self._expected is not None and self._sent >= self._expected

    def next(self) -> bytes:
        token = current.set(self._request)
        try:
            chunk = next(self._iterator)
        except StopIteration:
            self._exhausted()
            raise
        except BaseException as error:
            self._failed(error)
            raise
        finally:
            leave(token)
        self._count(chunk)
        return chunk

    def chunks(self) -> Iterator[bytes]:
        """All of a list: no code of the app runs here, and nothing can fail."""
        for chunk in self._iterator:
            self._count(chunk)
            yield chunk
        self._exhausted()

    def _exhausted(self) -> None:
        if not self._request.body:
            if self._request.status is None:
                self._request.status = 500  # start_response was never called
            self._report(self._ending())

    def close(self) -> None:
        request = self._request
        if type(self._iterable) is list:
            self._closed()
            return
        token = current.set(request)
        try:
            close = getattr(self._iterable, "close", None)
            if close is not None:
                close()
        except BaseException as error:
            request.exception = request.exception or type_name(type(error))
            if not self._complete:
                request.body = BODY_TRUNCATED
            raise
        finally:
            leave(token)
            self._closed()

    def _closed(self) -> None:
        request = self._request
        if not request.body:
            # The server stopped asking: there is no more to send, or no one to send it to.
            self._report(BODY_COMPLETE if self._complete else BODY_TRUNCATED)
        self._observer.finish(request)


class _Body:
    """The iterable that the server gets; without a length, as the app's had none."""

    __slots__ = ("_response",)

    def __init__(self, response: _Response) -> None:
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return self._response.next()

    def close(self) -> None:
        """Always called by the server; closes the app's iterable."""
        self._response.close()


class _SizedBody(_Body):
    """For a list: servers add a Content-Length where there is one item."""

    __slots__ = ("_length",)

    def __init__(self, response: _Response, length: int) -> None:
        super().__init__(response)
        self._length = length

    def __len__(self) -> int:
        return self._length


class _ListBody(_SizedBody):
    """For a list itself, which is what most apps return."""

    __slots__ = ()

    def __iter__(self) -> Iterator[bytes]:
        return self._response.chunks()
