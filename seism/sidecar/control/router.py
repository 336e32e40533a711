"""A table of method and path to handler, as a WSGI application."""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from webob import Request, Response

from seism.errors import ConfigurationError, SeismError
from seism.options import build, describe, nearest
from seism.proxy.collection import API, acting

T = TypeVar("T")

logger = logging.getLogger(__name__)

TRUSTED = "seism.trusted"
"""WSGI environ key: whether the caller has a token, or is the sidecar's own user or root."""
LEASE_HEADER = "Seism-Lease"
LEASE = re.compile(r"lease-[0-9]{1,18}")
"""What its value looks like."""

WARNINGS = 20
"""Headers ``Warning`` of one answer; one more counts the others."""
KEY = 60
"""Characters of an unknown key that are shown."""
BODY_LIMIT = 1024 * 1024
"""Bytes of a request's body."""

Handler = Callable[..., Response]
"""Takes the request, and what the path's ``{name}`` parts were as keyword arguments."""

WSGIApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


@dataclass(frozen=True, slots=True)
class Route:
    """One row. ``{name}`` in ``path`` matches anything but a slash.

    What follows ``handler`` describes it: ``seism.sidecar.control.openapi`` makes the document from
    it, and the types are what ``seism.schema`` understands.
    """

    method: str
    path: str
    handler: Handler
    summary: str = ""
    takes: Any = None
    """The type of the JSON body, None where none is read."""
    gives: Any = None
    """The type of the answer: of JSON, ``str`` for text, None where there is no body."""
    status: int = 200
    """Of success."""
    errors: tuple[int, ...] = ()
    """Statuses beside those that follow from the path and the body."""
    query: type[Any] | None = None
    """A declaration of options, the parameters after the question mark."""
    content: str = "application/json"
    """The answer's media type."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The body of an answer that says no."""

    error: str
    title: str
    """The same again, for Toxiproxy's old .NET clients."""
    status: int


class TooLarge(SeismError):
    """The body of a request is longer than ``BODY_LIMIT``."""

    status = 413


def read_json(request: Request) -> Any:
    """The request's body, whatever its Content-Type says.

    Raises ConfigurationError if it is not JSON (an empty body is not), TooLarge.
    """
    body: bytes = request.environ["wsgi.input"].read(BODY_LIMIT + 1)
    if len(body) > BODY_LIMIT:
        raise TooLarge(f"the body is longer than {BODY_LIMIT} bytes")
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        reason = str(error) if body.strip() else "EOF"
        raise ConfigurationError(f"bad request body: {reason}") from None


def read_query(cls: type[T], request: Request) -> T:
    """The declared parameters after the question mark.

    Raises ConfigurationError, which names the parameter and what is allowed.
    """
    values: dict[str, Any] = dict(request.GET)
    for key in describe(cls):
        if key.type == "int" and key.name in values:
            try:
                values[key.name] = int(values[key.name])
            except ValueError:
                pass  # build says what is wrong with it
    return build(cls, values, "query")


class Warnings:
    """What an answer says of its request, in ``Warning`` headers, a bounded number of them."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._more = 0

    def add(self, text: str) -> None:
        if len(self._texts) < WARNINGS:
            self._texts.append(shortened(text))
        else:
            self._more += 1

    def unknown(self, what: str, key: str, known: Iterable[str], of: str = "") -> None:
        """``key`` is ignored; what was meant is looked for only where there is room to say it."""
        hint = ""
        if len(self._texts) < WARNINGS and len(key) <= KEY:
            hint = nearest(key, known)
        self.add(f"unknown {what} {shortened(key, KEY)!r}{of} is ignored{hint}")

    def __iter__(self) -> Iterator[str]:
        yield from self._texts
        if self._more:
            yield f"{self._more} more of these"


def shortened(text: str, most: int = 300) -> str:
    """At most ``most`` characters of ``text``, with what stands for the others."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def answer(values: Any, status: int = 200, warnings: Iterable[str] = ()) -> Response:
    """A JSON response; each warning becomes a ``Warning`` header (RFC 7234, 5.5)."""
    body = json.dumps(values, separators=(",", ":")).encode()
    response = Response(body, status, content_type="application/json")
    response.headers["Content-Type"] = "application/json;charset=utf-8"
    for warning in warnings:
        quoted = re.sub(r"[^ -~]", "?", warning).replace("\\", "\\\\").replace('"', '\\"')
        response.headers.add("Warning", f'299 seism "{quoted}"')
        logger.warning("%s", warning)
    return response


def empty() -> Response:
    """204, without a body."""
    response = Response(status=204)
    del response.content_type
    return response


def failure(message: str, status: int, **more: Any) -> Response:
    """An error as Toxiproxy says it; its old .NET clients read ``title``."""
    return answer({"error": message, "title": message, "status": status, **more}, status)


class Router:
    """Finds the handler and turns what it raises into a response.

    A SeismError becomes its status and its message; anything else is a bug, is logged
    with its traceback, and becomes 500.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self._table = [(_pattern(route.path), route) for route in routes]
        self.served: Counter[tuple[str, str, int]] = Counter()
        """Requests by method, path as declared, and status; both are "" for what is unknown."""

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        request = Request(environ)
        route = None
        try:
            route, allowed = self._find(request)
            response = self._respond(request, route, allowed)
        except SeismError as error:
            response = failure(str(error), error.status)
        except Exception:
            logger.exception("%s %s", request.method, request.path_info)
            response = failure("internal error", 500)
        row = (route.method, route.path) if route else ("", "")
        self.served[(*row, response.status_int)] += 1
        answered: Iterable[bytes] = response(environ, start_response)
        return answered

    def _find(self, request: Request) -> tuple[Route | None, set[str]]:
        """The row, or None and the methods that the path has."""
        allowed: set[str] = set()
        path = _path(request)
        for pattern, route in self._table:
            match = pattern.fullmatch(path)
            if match is None:
                continue
            if route.method == request.method:
                request.urlvars = match.groupdict()
                return route, allowed
            allowed.add(route.method)
        return None, allowed

    @staticmethod
    def _respond(request: Request, route: Route | None, allowed: set[str]) -> Response:
        if route is not None:
            lease = request.headers.get(LEASE_HEADER, "")
            with acting(lease if LEASE.fullmatch(lease) else API):
                return route.handler(request, **request.urlvars)
        if not allowed:
            return failure("not found", 404)
        response = failure("method not allowed", 405)
        response.headers["Allow"] = ", ".join(sorted(allowed))
        return response


def _path(request: Request) -> str:
    """The path; WSGI hides UTF-8 in Latin-1."""
    path: str = request.environ.get("PATH_INFO", "")
    return path.encode("latin-1").decode("utf-8", "replace")


def _pattern(path: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", path)
    names = parts[1::2]
    literals = [re.escape(part) for part in parts[0::2]]
    text = literals[0]
    for name, literal in zip(names, literals[1:], strict=True):
        text += f"(?P<{name}>[^/]+){literal}"
    return re.compile(text)
