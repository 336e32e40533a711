"""Names for routes where the framework tells none: paths with their identifiers collapsed."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

OTHER = "(other)"
MAX_ROUTES = 200
"""Distinct names that are made up per worker; any further path is ``(other)``."""
MAX_SEEN = 1000
"""Names that are counted until they come often enough."""
MAX_PATH = 1000
"""Characters of a path that are looked at, up to the last whole segment."""

_IDENTIFIER = re.compile(
    r"\d+"
    r"|[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"
    r"|(?=[a-fA-F]*\d)[0-9a-fA-F]{8,}"
)
_PLACEHOLDER = re.compile(r"\{[A-Za-z_]\w{0,31}\}")
_SEPARATORS = re.compile(r"([-_.~:])")
_ODD = re.compile(r"[^\w.~:-]")
_WORD_WITH_DIGITS = re.compile(
    r"[^\W\d]*\d{0,3}|i18n|l10n|a11y|k8s|[a-z][24][a-z]|[23]d|2fa", re.IGNORECASE
)
_CASES = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
_NO_VOWEL = re.compile(r"[b-df-hj-np-tv-xz]{6}", re.IGNORECASE)
_LONGEST_WORD = 32
_LEADING_WORD = re.compile(r"[a-z]{1,12}")


@functools.lru_cache(maxsize=512)
def collapse(path: str) -> str:
    """``path`` with whatever varies from request to request, by its shape, as ``{id}``.

    That is a segment, or what follows the words at its beginning: numbers, UUIDs, dates,
    hexadecimal and base64 strings, keys such as ``sk_live_4eC3``, e-mail addresses, parameters
    behind a semicolon, and whatever has characters that no name has. Collapsing twice
    changes nothing more.
    """
    return "/".join(map(_template, path.split("/")))


def _template(segment: str) -> str:
    """One segment of a path."""
    name, semicolon, _ = segment.partition(";")
    if semicolon:
        return f"{_template(name)};{{id}}"
    if not segment or _PLACEHOLDER.fullmatch(segment):
        return segment
    if _IDENTIFIER.fullmatch(segment) or _ODD.search(segment.removesuffix("{id}")):
        return "{id}"
    parts = _SEPARATORS.split(segment)
    for at, part in enumerate(parts):
        if at % 2 == 0 and _varies(part):
            words = parts[:at:2]
            known = all(map(_LEADING_WORD.fullmatch, words))
            return "".join(parts[:at]) + "{id}" if known else "{id}"
    return segment


def _varies(part: str) -> bool:
    """Whether what is between two separators looks like no word."""
    if not part:
        return False
    if not part.isalnum() or part.isdigit() or len(part) > _LONGEST_WORD:
        return True
    if not _WORD_WITH_DIGITS.fullmatch(part) or _IDENTIFIER.fullmatch(part):
        return True
    if len(part) >= 16 and len(part) < 2.3 * len(_CASES.findall(part)):
        return True
    return len(part) >= 10 and _NO_VOWEL.search(part) is not None


def fill(path: str, parameters: Mapping[str, Any]) -> str:
    """``path`` with the values of path parameters replaced by their names in braces."""
    for name, value in parameters.items():
        text = str(value)
        if text:
            path = f"{path}/".replace(f"/{text}/", f"/{{{name}}}/", 1)[:-1]
    return path


class Routes:
    """Names made from raw paths, a bounded number of them.

    Half of them are taken by whatever comes first, the others only by what comes again and
    again: somebody who tries hundreds of paths once does not keep the app's own routes out.
    """

    def __init__(self, limit: int = MAX_ROUTES) -> None:
        self._limit = limit
        self._names: set[str] = set()
        self._seen: dict[str, int] = {}
        """How often names have come that are not known yet."""

    def name(self, path: str) -> str:
        """The collapsed path, or ``(other)`` once there are too many different ones."""
        if len(path) > MAX_PATH:
            path = path[:MAX_PATH].rpartition("/")[0]
        name = collapse(path or "/")[:200]
        if name in self._names:
            return name
        needed = self._needed()
        if needed > 1:
            seen = self._seen[name] = self._seen.pop(name, 0) + 1
            if seen < needed:
                self._forget()
                return OTHER
            del self._seen[name]
        if len(self._names) >= self._limit:
            return OTHER
        self._names.add(name)
        return name

    def _needed(self) -> int:
        """How often a name must come to be known."""
        share = len(self._names) / self._limit
        return 1 if share < 0.5 else 3 if share < 0.75 else 10 if share < 0.9 else 30

    def _forget(self) -> None:
        """Keep the number of names bounded that may become known: the rarest go."""
        if len(self._seen) > MAX_SEEN:
            self._seen = {name: count // 2 for name, count in self._seen.items() if count > 1}
