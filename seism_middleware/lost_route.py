"""The pattern that a framework would have matched, for a request that failed before it did.

A middleware that asks for a session, a converter that looks up an item, a subscriber: where they
fail, the framework has matched nothing yet, and only the path is known. At the end of such a
request the framework's own table of routes is looked up. No code of the app runs for that: no
converter, no predicate. Only frameworks that the app has imported are looked at.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from seism_middleware.frameworks import inside, readable, uniform

Finder = Callable[[str, str], str]
"""(method, path below the mount point) -> the framework's pattern, empty if there is none."""

_ANYTHING = "[^/]+"
_FLASK = re.compile(r"<(?:[^<>:()]*(?:\([^()]*\))?:)?(\w+)>")
"""Werkzeug's ``<converter(arguments):name>``."""
_BOTTLE = re.compile(r"<(\w+)(?::[^<>]*)?>|(?<=/):(\w+)")
"""Bottle's ``<name:filter:configuration>`` and ``:name``."""


def finders(app: Any) -> tuple[Finder, ...]:
    """One for each framework inside of ``app``."""
    found = []
    for each in inside(app):
        for module, name, make in _FRAMEWORKS:
            cls = getattr(sys.modules.get(module), name, None)
            if cls is not None and isinstance(each, cls):
                found.append(make(each))
    return tuple(found)


def find(known: Iterable[Finder], scope: Mapping[str, Any]) -> str:
    """The uniform pattern of the request of ``scope``, a WSGI environ or an ASGI scope; empty if
    no framework knows one.
    """
    method = scope.get("REQUEST_METHOD") or scope.get("method", "")
    # Starlette changes the root path below a mount, and keeps the app's own.
    mount = scope.get("SCRIPT_NAME") or scope.get("app_root_path", scope.get("root_path", ""))
    path = scope.get("PATH_INFO")
    if path is None:
        path = str(scope.get("path", "")).removeprefix(mount)
    for finder in (*known, *_of_scope(scope)):
        try:
            pattern = finder(method, path or "/")
        except Exception:  # of a version that we do not know: the path is all there is
            continue
        if pattern:
            return str(mount + uniform(pattern))
    return ""


def bottle_pattern(environ: Mapping[str, Any]) -> str:
    """What Bottle has matched, if it has."""
    rule = getattr(environ.get("bottle.route"), "rule", "")
    return bottle_rule(rule) if rule else ""


def pyramid_finder(router: Any) -> Finder:
    """``router`` has the registry."""

    def pattern(method: str, path: str) -> str:
        from pyramid.interfaces import IRoutesMapper

        mapper = router.registry.queryUtility(IRoutesMapper)
        routes = mapper.get_routes() if mapper is not None else ()
        return next((route.pattern for route in routes if route.match(path) is not None), "")

    return pattern


def django_finder(_: Any = None) -> Finder:
    """Of the project's own URLconf."""

    def pattern(method: str, path: str) -> str:
        from django.urls import get_resolver

        return readable(_django(get_resolver(), path) or "")

    return pattern


def _django(resolver: Any, path: str) -> str | None:
    match = resolver.pattern.regex.search(path)
    if match is None:
        return None
    rest = path[match.end() :]
    for each in resolver.url_patterns:
        nested = hasattr(each, "url_patterns")
        found = _django(each, rest) if nested else "" if each.pattern.regex.search(rest) else None
        if found is not None:
            # As ``URLResolver._join_route`` does; the root has none.
            return str(each.pattern) + found.removeprefix("^")
    return None


def _flask(app: Any) -> Finder:
    known: dict[str, re.Pattern[str]] = {}

    def regex(rule: Any) -> re.Pattern[str]:
        if rule.rule not in known:
            known[rule.rule] = _flask_regex(rule)
        return known[rule.rule]

    def pattern(method: str, path: str) -> str:
        rules = [
            rule
            for rule in app.url_map.iter_rules()
            if (not rule.methods or method in rule.methods) and regex(rule).fullmatch(path)
        ]
        # Static parts weigh more, as in Werkzeug.
        rules.sort(key=lambda rule: (len(rule.arguments), -len(_FLASK.sub("", rule.rule))))
        return str(rules[0].rule) if rules else ""

    return pattern


def _flask_regex(rule: Any) -> re.Pattern[str]:
    converters = getattr(rule, "_converters", {})
    text, end = "", 0
    for found in _FLASK.finditer(rule.rule):
        converter = converters.get(found[1])
        text += re.escape(rule.rule[end : found.start()])
        text += f"(?:{getattr(converter, 'regex', _ANYTHING)})"
        end = found.end()
    return re.compile(text + re.escape(rule.rule[end:]))


def _of_scope(scope: Mapping[str, Any]) -> Iterator[Finder]:
    """Those of frameworks that say in the scope who they are."""
    routes = getattr(scope.get("app"), "routes", None)
    if routes:
        yield functools.partial(_starlette, routes)


def _bottle(app: Any) -> Finder:
    def pattern(method: str, path: str) -> str:
        for verb in (method, "ANY"):
            if path in app.router.static.get(verb, {}):
                return path
            for rule, regex, *_ in app.router.dyna_routes.get(verb, ()):
                if re.fullmatch(regex, path):
                    return bottle_rule(rule)
        return ""

    return pattern


def bottle_rule(rule: str) -> str:
    """Bottle's pattern with ``{name}`` for its parameters."""
    return _BOTTLE.sub(lambda found: f"{{{found[1] or found[2]}}}", rule)


def _starlette(routes: Iterable[Any], method: str, path: str) -> str:
    """Starlette's ``Route`` and ``Mount``, and FastAPI's."""
    for route in routes:
        regex = getattr(route, "path_regex", None)
        match = regex.match(path) if regex is not None else None
        if match is None:
            continue
        inner = getattr(route, "routes", None)
        if inner:
            rest = "/" + match.groupdict().get("path", "").lstrip("/")
            found = _starlette(inner, method, rest)
            if found:
                return str(route.path) + found
        elif not getattr(route, "methods", None) or method in route.methods:
            return str(route.path_format)
    return ""


_FRAMEWORKS: tuple[tuple[str, str, Callable[[Any], Finder]], ...] = (
    ("pyramid.router", "Router", pyramid_finder),
    ("django.core.handlers.base", "BaseHandler", django_finder),
    ("flask", "Flask", _flask),
    ("bottle", "Bottle", _bottle),
)
