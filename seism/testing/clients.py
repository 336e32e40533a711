"""What the requests of a test came to: the test clients of frameworks are followed.

Each class is patched once its module is loaded, in a worker of ``pytest --seism`` alone. A request
that an app makes while it answers one belongs to that one.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from seism_middleware.route import collapse

MARK = "__seism__"


@dataclass(frozen=True, slots=True)
class Seen:
    """One request of a test, without values."""

    method: str
    path: str
    """Its identifiers collapsed."""
    status: int
    """0: an exception left the app, or the server did not answer."""
    exception: str
    """Its type."""
    seconds: float
    digest: str
    """Of the body."""

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"


def _django(response: Any, arguments: Any, kwargs: Any) -> tuple[str, str, int, bytes]:
    request = response.request
    body = b"" if getattr(response, "streaming", False) else response.content
    return request["REQUEST_METHOD"], request["PATH_INFO"], response.status_code, body


def _werkzeug(response: Any, arguments: Any, kwargs: Any) -> tuple[str, str, int, bytes]:
    body = b"" if response.is_streamed else response.get_data()
    return response.request.method, response.request.path, response.status_code, body


def _httpx(response: Any, arguments: Any, kwargs: Any) -> tuple[str, str, int, bytes]:
    body = response.content if response.is_stream_consumed else b""
    return response.request.method, str(response.request.url), response.status_code, body


def _webtest(response: Any, arguments: Any, kwargs: Any) -> tuple[str, str, int, bytes]:
    return response.request.method, response.request.path, response.status_int, response.body


def _requests(response: Any, arguments: Any, kwargs: Any) -> tuple[str, str, int, bytes]:
    body = b"" if kwargs.get("stream") else response.content
    return response.request.method, response.request.url, response.status_code, body


Reader = Callable[[Any, Any, Any], tuple[str, str, int, bytes]]
CLIENTS: tuple[tuple[str, str, str, Reader], ...] = (
    ("django.test.client", "Client", "request", _django),
    ("django.test.client", "AsyncClient", "request", _django),
    ("werkzeug.test", "Client", "open", _werkzeug),
    ("httpx", "Client", "send", _httpx),
    ("httpx", "AsyncClient", "send", _httpx),
    ("webtest.app", "TestApp", "do_request", _webtest),
    ("requests.sessions", "Session", "send", _requests),
)
"""Module, class, method that sends, and what a response says."""


class Clients:
    """Collects what the requests of the current test came to."""

    def __init__(self, ignored: frozenset[str]) -> None:
        """``ignored``: ``host:port`` of backends, to which no request of a test goes."""
        self.seen: list[Seen] = []
        self.following = False
        self._ignored = ignored
        self._inside = False

    def patch(self) -> None:
        """Follow the clients of all modules that are loaded now. Idempotent."""
        for module, class_, method, reader in CLIENTS:
            cls = getattr(sys.modules.get(module), class_, None)
            original = getattr(cls, method, None)
            if cls is None or original is None or hasattr(original, MARK):
                continue
            wrap = self._async if inspect.iscoroutinefunction(original) else self._sync
            follow = wrap(original, reader)
            follow = _checking(follow) if class_ == "TestApp" else follow
            setattr(follow, MARK, True)
            setattr(cls, method, follow)

    def _sync(self, original: Callable[..., Any], reader: Reader) -> Callable[..., Any]:
        @functools.wraps(original)
        def follow(*args: Any, **kwargs: Any) -> Any:
            if self._inside or not self.following:
                return original(*args, **kwargs)
            self._inside, began = True, time.monotonic()
            try:
                response = original(*args, **kwargs)
            except Exception as error:
                self._raised(error, args, kwargs, began)
                raise
            finally:
                self._inside = False
            self._answered(reader(response, args, kwargs), began)
            return response

        return follow

    def _async(self, original: Callable[..., Any], reader: Reader) -> Callable[..., Any]:
        @functools.wraps(original)
        async def follow(*args: Any, **kwargs: Any) -> Any:
            if self._inside or not self.following:
                return await original(*args, **kwargs)
            self._inside, began = True, time.monotonic()
            try:
                response = await original(*args, **kwargs)
            except Exception as error:
                self._raised(error, args, kwargs, began)
                raise
            finally:
                self._inside = False
            self._answered(reader(response, args, kwargs), began)
            return response

        return follow

    def _raised(self, error: Exception, args: Any, kwargs: dict[str, Any], began: float) -> None:
        asked = args[1] if len(args) > 1 else None
        url = str(getattr(asked, "url", "") or getattr(asked, "path", ""))
        url = url or str(kwargs.get("PATH_INFO", ""))
        if self._is_backend(url):
            return
        method = getattr(asked, "method", None) or kwargs.get("REQUEST_METHOD") or "REQUEST"
        kind = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
        path = collapse(urlsplit(url).path or "/")
        self.seen.append(Seen(str(method), path, 0, kind, time.monotonic() - began, ""))

    def _answered(self, found: tuple[str, str, int, bytes], began: float) -> None:
        method, url, status, body = found
        if self._is_backend(url):
            return
        digest = hashlib.blake2b(body, digest_size=8).hexdigest()
        path = collapse(urlsplit(url).path or "/")
        self.seen.append(Seen(method, path, status, "", time.monotonic() - began, digest))

    def _is_backend(self, url: str) -> bool:
        return urlsplit(url).netloc in self._ignored


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
