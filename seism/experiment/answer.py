"""The content of an answer without its values: where a redirect leads, and salted digests.

It is made in the load's process, and no value leaves that: a body becomes *parts*, a JSON path or
a line of text each, and a digest with a salt that is made for the run and is written nowhere.
A part shows only the kind of a JSON value, and the length of a list (``OBJECT``, ``LIST``, ...).
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from seism_middleware.route import collapse

MAX_PARTS = 200
"""Parts of one body; the digest of the rest is one more."""
MAX_ITEMS = 20
"""Items of one list that are parts of their own; the digest of the rest is one more."""
MAX_BODY = 1 << 20
"""Bytes; a longer body is one part."""
MAX_DEPTH = 20
"""Values within values; a deeper one is one part."""
MAX_KEY, MAX_NAME = 64, 160
"""Characters of a key, and of a part's name."""

REDIRECTS = (301, 302, 303, 307, 308)
CALM = ("warmup", "steady", "control")
"""Segments of the load in which nothing is perturbed."""

REST, TYPE, BODY, LINE = "(rest)", "type", "body", "line:"
"""Names of parts other than JSON paths: everything beyond the limits, the content type, a body
that is neither JSON nor text, and the prefix of a line's."""

OBJECT, LIST, TEXT, NUMBER, TRUTH, NULL = "o", "l", "s", "n", "b", "z"
"""What a JSON value's part begins with. An ``l`` is followed by the list's length, the others by
a digest; an object's is that of its keys. An empty text is a bare ``s``."""


PATH = re.compile(r"\$(?:\.[^.\[\]]+|\[\d+\])*")
"""A JSON path, of keys and indices."""
STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")
"""One key, or one index."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The part of a response that a journal may hold."""

    target: str = ""
    """Where a redirect leads: the path with its identifiers collapsed, the names of the query's
    parameters, and the host if it is another one."""
    broken: str = ""
    """The type as which a whole body does not parse: ``JSON`` or ``HTML``."""
    unexpected: str = ""
    """The parts that ``[load.route.expect]`` wants otherwise: `` `$.total` ``, ``its status``."""
    parts: Mapping[str, str] = field(default_factory=dict)
    """Of the body of a 2xx: name -> its kind and digest. ``Contents`` takes the volatile out."""


def target(location: str, host: str = "") -> str:
    """``/items/{id}?next`` of the ``Location`` of a redirect, sent by ``host``."""
    try:
        parts = urlsplit(location)
        other = parts.hostname or ""
        names = sorted({collapse(key) for key, _ in parse_qsl(parts.query, True)})
    except ValueError:
        return "(invalid)"
    where = f"//{other}" if other and other != host else ""
    query = f"?{'&'.join(names)}" if names else ""
    return f"{where}{collapse(parts.path) or '/'}{query}"[:200]


def unexpected(expect: Mapping[str, Any], status: int, body: bytes) -> str:
    """What of an answer is not as ``expect`` says, without any value; empty if all is.

    Answers from 400 on are judged by other rules.
    """
    if status >= 400:
        return ""
    if expect["statuses"] and status not in expect["statuses"]:
        return "its status"
    if expect["text"] and expect["text"].encode() not in body:
        return "its text"
    if not expect["json"]:
        return ""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return "it is not JSON"
    wrong = [path for path, wanted in expect["json"].items() if not _is(value, path, wanted)]
    return ", ".join(f"`{path}`" for path in wrong)[:MAX_NAME]


def _is(value: Any, path: str, wanted: Any) -> bool:
    for key, index in STEP.findall(path):
        try:
            value = value[key if key else int(index)]
        except (LookupError, TypeError):
            return False
    if not isinstance(wanted, dict):
        return bool(value == wanted and isinstance(value, bool) == isinstance(wanted, bool))
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return bool(wanted.get("min", value) <= value <= wanted.get("max", value))


class Reader:
    """Makes answers of responses, with the salt of one run."""

    def __init__(self, salt: str) -> None:
        self._salt = salt.encode()[: hashlib.blake2b.MAX_KEY_SIZE]

    def read(
        self, status: int, headers: Mapping[str, str], body: bytes, host: str = "", method: str = ""
    ) -> Answer:
        """The answer in a whole response; ``headers`` are looked up in lower case."""
        if status in REDIRECTS and headers.get("location"):
            return Answer(target=target(headers["location"], host))
        if not 200 <= status < 300 or status in (204, 205) or method == "HEAD":
            return Answer()
        type_ = headers.get("content-type", "").partition(";")[0].strip().lower()
        if "content-encoding" in headers or len(body) > MAX_BODY:
            return Answer(parts={TYPE: type_, BODY: self.digest(body)})
        if type_ == "application/json" or type_.endswith("+json"):
            try:
                value = json.loads(body)
            except (ValueError, RecursionError):
                return Answer(broken="JSON")
            return Answer(parts={TYPE: type_, **self._limited(self._walk(value, "$", 0))})
        if type_.startswith("text/"):
            html = type_ == "text/html"
            lower = body.lower()
            cut = html and b"<html" in lower and b"</html>" not in lower
            lines = (body.replace(b"<", b"\n<") if html else body).splitlines()
            return Answer(
                broken="HTML" if cut else "",
                parts={TYPE: type_, **self._limited(self._text(lines))},
            )
        return Answer(parts={TYPE: type_, BODY: self.digest(body)})

    def digest(self, data: bytes) -> str:
        """Of ``data``, which nobody without the salt can guess from it."""
        return hashlib.blake2b(data, digest_size=5, key=self._salt).hexdigest()

    def _limited(self, parts: Iterator[tuple[str, str]]) -> dict[str, str]:
        found: dict[str, str] = {}
        rest = b""
        for full, value in parts:
            name = full
            if len(name) > MAX_NAME:
                name = f"{name[:MAX_KEY]}...{self.digest(name.encode())}"
            if len(found) < MAX_PARTS:
                found[name] = value
            else:
                rest += f"{name}={value}\n".encode()
        return found | ({REST: self.digest(rest)} if rest else {})

    def _text(self, lines: list[bytes]) -> Iterator[tuple[str, str]]:
        counts: dict[str, int] = {}
        for line in filter(None, map(bytes.strip, lines)):
            name = LINE + self.digest(line)
            counts[name] = counts.get(name, 0) + 1
        return ((name, str(count)) for name, count in counts.items())

    def _walk(self, value: Any, path: str, depth: int) -> Iterator[tuple[str, str]]:
        if depth > MAX_DEPTH:
            yield path, self.digest(json.dumps(value, sort_keys=True).encode())
        elif isinstance(value, dict):
            keys = sorted(value)
            yield path, OBJECT + self.digest("\n".join(keys).encode("utf-8", "replace"))
            shapes: dict[str, int] = {}
            for key in keys:
                shape = shape_of(key)
                number = shapes[shape] = shapes.get(shape, 0) + 1
                name = f"{path}.{shape}" + (f"#{number}" if number > 1 else "")
                yield from self._walk(value[key], name, depth + 1)
        elif isinstance(value, list):
            yield path, f"{LIST}{len(value)}"
            for index, item in enumerate(value[:MAX_ITEMS]):
                yield from self._walk(item, f"{path}[{index}]", depth + 1)
            if value[MAX_ITEMS:]:
                rest = json.dumps(value[MAX_ITEMS:], sort_keys=True).encode()
                yield f"{path}[{REST}]", self.digest(rest)
        elif value is None:
            yield path, NULL
        else:
            kind = TEXT if isinstance(value, str) else NUMBER
            kind = TRUTH if isinstance(value, bool) else kind
            data = json.dumps(value).encode()
            yield path, kind if value == "" else kind + self.digest(kind.encode() + data)


def shape_of(key: str) -> str:
    """A key as reports may show it: one that looks like data is ``{id}``."""
    shape: str = collapse(key.replace("/", "{")) if key else "{id}"
    return shape if len(shape) <= MAX_KEY else "{id}"


class Contents:
    """The contents of one run, without what varies while nothing is perturbed.

    A part that differed between two answers to the same request, or was missing in one of them, is
    volatile from then on: it is left out, so that equal answers have one id.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._lock = threading.Lock()
        self._usual: dict[str, dict[str, str]] = {}
        self._volatile: dict[str, set[str]] = {}
        self._told: set[tuple[str, str]] = set()

    def told(self, route: str, answer: Answer, *, calm: bool) -> tuple[str, dict[str, str] | None]:
        """The id of the content of ``answer`` to a request of ``route``, and its parts if they are
        not told yet. ``calm``: nothing is perturbed.
        """
        if not answer.parts:
            return "", None
        with self._lock:
            volatile = self._volatile.setdefault(route, set())
            if calm:
                self._learn(route, answer.parts, volatile)
            parts = {name: value for name, value in answer.parts.items() if name not in volatile}
            digest = self._reader.digest(json.dumps(sorted(parts.items())).encode())
            if (route, digest) in self._told:
                return digest, None
            self._told.add((route, digest))
            return digest, parts

    def _learn(self, route: str, parts: Mapping[str, str], volatile: set[str]) -> None:
        usual = self._usual.setdefault(route, dict(parts))
        volatile.update(
            name
            for name in {*usual, *parts}
            if usual.get(name) != parts.get(name) and not is_list(usual, parts, name)
        )


def is_list(one: Mapping[str, str], other: Mapping[str, str], name: str) -> bool:
    """Whether ``name`` is a list in both: its length alone varies, and stays told."""
    return one.get(name, "").startswith(LIST) and other.get(name, "").startswith(LIST)
