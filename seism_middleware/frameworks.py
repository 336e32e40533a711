"""The pattern of the route that a framework matched, noted in the environ or scope.

One mechanism for every wrapper and adapter: a framework tells of its match while it works
for a request, and what it tells is noted under ``seism.route`` unless the app has set that
itself. All patterns look alike: ``/items/{name}``. No framework is imported that the app
has not imported.
"""

from __future__ import annotations

import contextlib
import functools
import re
import sys
from collections.abc import Iterator, MutableMapping
from typing import Any

from seism_middleware.contract import ENVIRON_ROUTE

_DEEPEST = 10
"""Middlewares between us and the framework at most."""
_WITHIN = ("app", "wsgi_app", "application", "__wrapped__")
"""Where a middleware keeps what it wraps."""

_ANGLES = re.compile(r"<(?:[^<>]*:)?(\w+)>")
"""Flask's and Django's ``<converter:name>``."""
_BRACES = re.compile(r"\{([_a-zA-Z]\w*):[^{}]*(?:\{[^{}]*\}[^{}]*)*\}")
"""Pyramid's ``{name:regex}``, where the regex may have braces of its own."""


def note(environ: MutableMapping[str, Any], script: str, pattern: str) -> None:
    """``pattern`` matched, below the mount point ``script``."""
    environ.setdefault(ENVIRON_ROUTE, script + uniform(pattern))


@functools.lru_cache(maxsize=1024)
def uniform(pattern: str) -> str:
    """A framework's pattern with ``{name}`` for its parameters and a slash in front."""
    pattern = _BRACES.sub(r"{\1}", _ANGLES.sub(r"{\1}", pattern))
    return "/" + pattern.lstrip("/")


def follow(app: Any) -> None:
    """Have the frameworks inside of ``app`` tell which route they matched; repeatable."""
    for found in inside(app):
        for module, name, hook in _HOOKS:
            cls = getattr(sys.modules.get(module), name, None)
            if cls is not None and isinstance(found, cls):
                with contextlib.suppress(Exception):  # of a version that we do not know
                    hook(found)


def inside(app: Any) -> Iterator[Any]:
    """``app`` and what it wraps, from the outside in."""
    seen: list[Any] = []
    waiting = [app]
    while waiting and len(seen) < _DEEPEST:
        found = waiting.pop(0)
        if any(found is known for known in seen):
            continue
        seen.append(found)
        yield found
        # Not its class's: a bound method of a type is no middleware.
        own = getattr(found, "__dict__", {})
        waiting += [own[name] for name in _WITHIN if name in own]
        if getattr(found, "__self__", None) is not None:
            waiting.append(found.__self__)


def _hook_pyramid(router: Any) -> None:
    from pyramid.interfaces import IBeforeTraversal

    registry = router.registry
    known = [handler.handler for handler in registry.registeredHandlers()]
    if pyramid_matched not in known:
        registry.registerHandler(pyramid_matched, (IBeforeTraversal,))


def pyramid_matched(event: Any) -> None:
    """A subscriber of Pyramid's ``IBeforeTraversal``: the route is known, and its factory has not
    been called yet.
    """
    request = event.request
    route = getattr(request, "matched_route", None)
    if route is not None:
        note(request.environ, request.environ.get("SCRIPT_NAME", ""), route.pattern)


def _hook_django(handler: Any) -> None:
    # Django before 3.1 has no such method: its resolver is asked at the end of the request.
    if "resolve_request" in vars(handler) or not hasattr(handler, "resolve_request"):
        return
    resolve = handler.resolve_request

    def resolve_request(request: Any) -> Any:
        match = resolve(request)
        django_matched(request, match)
        return match

    handler.resolve_request = resolve_request


def django_matched(request: Any, match: Any) -> None:
    """Django resolved ``request`` to the ``ResolverMatch`` ``match``, None if to none."""
    route = getattr(match, "route", None)
    if route is not None:
        environ = django_environ(request)
        note(environ, request.META.get("SCRIPT_NAME", ""), readable(route))


def django_environ(request: Any) -> MutableMapping[str, Any]:
    """The scope of a Django request, or the environ."""
    scope = getattr(request, "scope", None)
    found: MutableMapping[str, Any] = request.META if scope is None else scope
    return found


@functools.lru_cache(maxsize=1024)
def readable(route: str) -> str:
    """Django's ``route``, whose parts may be regular expressions, as a path with ``<name>``.

    An optional character stays: ``^render/?$`` is ``render/``.
    """
    if not _REGEX.search(route):
        return route
    return "".join(_read(route))


_REGEX = re.compile(r"[()\\^$]|/\?")
"""What shows that a part of a route is a regular expression."""
_TOKEN = re.compile(r"\\.|\[\^?\]?(?:\\.|[^]\\])*\]|\((?:\?P<(\w+)>)?|[?*+]+|\{\d*,?\d*\}|.", re.S)
"""One piece of a regular expression: an escape, a set, the beginning of a group, how often."""


def _read(regex: str) -> Iterator[str]:
    at = 0
    while at < len(regex):
        token = _TOKEN.match(regex, at)
        assert token is not None
        text, at = token[0], token.end()
        if text.startswith("("):
            end = _group_end(regex, at)
            inner, at = regex[at:end], end + 1
            if token[1] or not inner.startswith("?"):
                yield f"<{token[1] or 'var'}>"
            elif inner.startswith("?:"):
                yield from _read(inner[2:])
        elif text[0] == "\\":
            yield "" if text[1] in "AZzbB" else "<var>" if text[1] in "dDwWsS" else text[1]
        elif text[0] == "[" or (text == "." and regex[at : at + 1] in ("*", "+")):
            yield "<var>"
        elif text[0] not in "^$?*+{":
            yield text


def _group_end(regex: str, at: int) -> int:
    """Where the group is closed whose inside begins at ``at``."""
    depth = 1
    while at < len(regex):
        token = _TOKEN.match(regex, at)
        assert token is not None
        depth += token[0].startswith("(") - (token[0] == ")")
        if not depth:
            return at
        at = token.end()
    return at


def _hook_flask(app: Any) -> None:
    import flask

    flask.request_started.connect(_flask_started, app)


def _flask_started(sender: Any, **_: Any) -> None:
    import flask

    rule = flask.request.url_rule
    if rule is not None:
        note(flask.request.environ, flask.request.environ.get("SCRIPT_NAME", ""), rule.rule)


_HOOKS = (
    ("pyramid.router", "Router", _hook_pyramid),
    ("django.core.handlers.base", "BaseHandler", _hook_django),
    ("flask", "Flask", _hook_flask),
)
