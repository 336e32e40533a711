"""The observer around a WSGI app (PEP 3333)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, MutableMapping
from typing import Any

from seism_middleware import signals
from seism_middleware.contract import (
    BODY_COMPLETE,
    BODY_NONE,
    BODY_TRUNCATED,
    ENVIRON_REQUEST,
    ENVIRON_ROUTE,
    PERTURBATION_HEADER,
)
from seism_middleware.hits import HITS, certain
from seism_middleware.lost_route import Finder, bottle_pattern, find
from seism_middleware.observer import Observer
from seism_middleware.settings import LazyObserver, Settings
from seism_middleware.shown import shows
from seism_middleware.traffic import Request, current, leave

Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], object]]
App = Callable[[Environ, StartResponse], Iterable[bytes]]

_NOTHING: Iterator[bytes] = iter(())


class SeismWSGI:
    """Wraps ``app``; attributes that it does not have itself are the app's.

    The options are those of ``Settings``. ``sidecar`` (``host:port`` of its control address)
    and ``token`` default to the environment's ``SEISM_SIDECAR`` and ``SEISM_TOKEN``, read at
    the first request. Without a sidecar requests go straight through. A request that another
    wrapper observes already goes straight through as well.

    Raises ValueError for an option that does not exist or has a value that it cannot have.
    """

    def __init__(self, app: App, sidecar: str | None = None, **options: Any) -> None:
        self._lazy = LazyObserver(Settings.of({"sidecar": sidecar, **options}))
        self.app = app

    def __getattr__(self, name: str) -> Any:
        if name == "app":  # not there yet: copying and unpickling ask before __init__
            raise AttributeError(name)
        return getattr(self.app, name)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        observer = self._lazy.get("wsgi", self.app)
        if observer is None or ENVIRON_REQUEST in environ:
            return self.app(environ, start_response)
        path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        shows = self._lazy.settings.perturbation_header
        watched = ObservedResponse(
            observer, environ, environ["REQUEST_METHOD"], path, shows, self._lazy.finders
        )
        return watched.run(self.app, start_response)


def went_wrong(request: Request) -> bool:
    """Whether it may have ended before its route was matched."""
    return request.status is None or request.status >= 300 or bool(request.exception)


def shown(request: str) -> list[tuple[str, str]]:
    """The header that says what is known to have hit ``request``, if anything is."""
    perturbations = certain(HITS.of(request))
    return [(PERTURBATION_HEADER, perturbations)] if perturbations else []


class ObservedResponse:
    """What happens to one request, and the iterable that the server gets for it.

    ``environ`` is the request's, or its scope: it gets the request's id and may name the route.
    With ``shows`` the response gets the header that says what has hit it. ``finders`` know the
    route of what fails before it was matched.
    """

    __slots__ = (
        "_environ", "_expected", "_finders", "_iterable", "_iterator", "_left", "_observer",
        "_path", "_sent", "_shows", "request",
    )  # fmt: skip

    def __init__(
        self,
        observer: Observer,
        environ: MutableMapping[str, Any],
        method: str,
        path: str,
        shows: bool = False,
        finders: tuple[Finder, ...] = (),
    ) -> None:
        self._observer = observer
        self._finders = finders
        self._shows = shows
        self._environ = environ
        self._path = path
        self.request: Request = observer.begin(method, path, environ)
        environ[ENVIRON_REQUEST] = self.request.id
        self._expected: int | None = None
        self._sent = 0
        self._iterable: Iterable[bytes] = ()
        self._iterator: Iterator[bytes] = _NOTHING
        self._left = -1
        """Chunks to come, where that is known."""

    def run(self, app: App, start_response: StartResponse) -> Iterable[bytes]:
        """Call the WSGI ``app``; the iterable for the server."""
        return self.wrap(self.call(app, self._environ, self._start_response(start_response)))

    @shows("self")
    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What ``function`` returns, working for this request; an exception ends the request."""
        token = current.set(self.request)
        try:
            return function(*arguments)
        except BaseException as error:
            self.failed(error)
            self.finish()
            raise
        finally:
            leave(token)

    def wrap(self, iterable: Iterable[bytes]) -> Iterable[bytes]:
        """``iterable`` counted; the request ends when the result is closed.

        A list has no code that could still run, and servers send it in a way of their own:
        it is returned as it is, and the request is over.
        """
        self._iterable = iterable
        if type(iterable) is list:
            for chunk in iterable:
                self._sent += len(chunk)
            self.ended()
            self.finish()
            return iterable
        self._iterator = self.call(iter, iterable)
        wrapper = self._environ.get("wsgi.file_wrapper")
        if type(wrapper) is type and isinstance(iterable, wrapper):
            # The server looks for its own type, to send the file without reading it.
            self.complete()
            self.finish()
            return iterable
        if isinstance(iterable, list | tuple):
            self._left = len(iterable)
            return _SizedBody(self, self._left)
        return _Body(self)

    def complete(self) -> None:
        """All of the response is about to leave, by a way on which it cannot be watched."""
        self._report(BODY_COMPLETE)

    def finish(self) -> None:
        """There is no more to come."""
        self._observer.finish(self.request)

    def _start_response(self, real: StartResponse) -> StartResponse:
        def start_response(
            status: str, headers: list[tuple[str, str]], exc_info: Any = None, /
        ) -> Callable[[bytes], object]:
            more = self.starting()
            if more:
                headers = [*headers, *more]
            try:
                write = real(status, headers, exc_info) if exc_info else real(status, headers)
            finally:
                exc_info = None  # a traceback holds the frames, and they hold it
            self.began(status, headers)

            def counted(data: bytes) -> object:
                self.count(data)
                return write(data)

            return counted

        return start_response

    def starting(self) -> list[tuple[str, str]]:
        """The headers are about to leave: the headers to add to them."""
        signals.send("response_started", self._observer, self.request.id)
        return shown(self.request.id) if self._shows else []

    def began(self, status: str, headers: Iterable[tuple[str, str]]) -> None:
        """The response begins with ``status``, of which the first three characters count."""
        request = self.request
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

    def count(self, chunk: bytes) -> None:
        """``chunk`` is about to leave; the observation must, if that completes the response."""
        self._sent += len(chunk)
        if self._left > 0:
            self._left -= 1
        if self._expected is None:
            done = self._left == 0
        else:
            done = 0 < self._expected <= self._sent
            done = done or self._left == 0
        if done and self.request.status is not None:
            self._report(self._ending())

    def _ending(self) -> str:
        short = self._expected is not None and self._sent < self._expected
        return BODY_TRUNCATED if short else BODY_COMPLETE

    def _report(self, body: str) -> None:
        request = self.request
        if request.over is not None:
            return  # closed twice
        request.body = body
        if not request.route:
            told = self._environ.get(ENVIRON_ROUTE) or bottle_pattern(self._environ)
            if not told and went_wrong(request):
                told = find(self._finders, self._environ)
            request.route = told or self._observer.routes.name(self._path)
        self._observer.report(request)

    def failed(self, error: BaseException) -> None:
        """An exception leaves the app: a 500 if nothing was sent, a broken response otherwise.

        The likes of SystemExit end the worker: there is no response then.
        """
        request = self.request
        request.raised(error)
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

    def ended(self) -> None:
        """The body had no further chunk."""
        if not self.request.body:
            if self.request.status is None:
                self.request.status = 500  # start_response was never called
            self._report(self._ending())

    @shows("self")
    def next(self) -> bytes:
        """The app's next chunk, made for this request."""
        token = current.set(self.request)
        try:
            chunk = next(self._iterator)
        except StopIteration:
            self.ended()
            raise
        except BaseException as error:
            self.failed(error)
            raise
        finally:
            leave(token)
        self.count(chunk)
        return chunk

    @shows("self")
    def close(self) -> None:
        """Close the app's iterable: the request is over."""
        request = self.request
        token = current.set(request)
        try:
            close = getattr(self._iterable, "close", None)
            if close is not None:
                close()
        except BaseException as error:
            if not request.exception:
                request.raised(error)
            if not self._complete:
                request.body = BODY_TRUNCATED
            raise
        finally:
            leave(token)
            self._closed()

    def _closed(self) -> None:
        if not self.request.body:
            # The server stopped asking: there is no more to send, or no one to send it to.
            self._report(BODY_COMPLETE if self._complete else BODY_TRUNCATED)
        self.finish()


class _Body:
    """The iterable that the server gets; without a length, as the app's had none."""

    __slots__ = ("_watched",)

    def __init__(self, watched: ObservedResponse) -> None:
        self._watched = watched

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return self._watched.next()

    def close(self) -> None:
        """Always called by the server; closes the app's iterable."""
        self._watched.close()


class _SizedBody(_Body):
    """For a tuple, or a kind of list: servers add a Content-Length where there is one item."""

    __slots__ = ("_length",)

    def __init__(self, watched: ObservedResponse, length: int) -> None:
        super().__init__(watched)
        self._length = length

    def __len__(self) -> int:
        return self._length
