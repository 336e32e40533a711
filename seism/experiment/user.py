"""One user of the load: cookies, captured values, and the messages that are made with them.

Nothing of it leaves the load's process: a request keeps the name that it has in the file, with its
placeholders, wherever somebody may read it.
"""

from __future__ import annotations

import base64
import csv
import json
import re
import secrets
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from seism.errors import ConfigurationError
from seism.experiment.answer import PATH, STEP

_PLACEHOLDER = re.compile(r"(?<!\$)\{([A-Za-z_][A-Za-z0-9_]*)\}")
_IN_PATH = ":/?#[]@!$&'()*+,;=%~-._"
"""Characters that are not encoded in a path and query, those of an encoded one included."""
FORM = "application/x-www-form-urlencoded"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


BUILT_IN: Mapping[str, Callable[[], str]] = {
    "unique": lambda: secrets.token_hex(8),
    "uuid": lambda: str(uuid.uuid4()),
    "now": _now,
}
"""Placeholders that always have a value, a new one for each request."""


def placeholders(text: str) -> list[str]:
    """The names in the ``{placeholders}`` of ``text``; ``${NAME}`` is none."""
    return _PLACEHOLDER.findall(text)


def rows(path: Path, where: str) -> list[dict[str, str]]:
    """The rows of a CSV file whose first line has the names. Raises ConfigurationError."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            found = [{k: v for k, v in row.items() if k and v} for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or "not a CSV file in UTF-8"
        raise ConfigurationError(f"{where}: {path}: {reason}") from None
    if not found:
        raise ConfigurationError(f"{where}: {path}: no row below the names")
    return found


def columns(path: Path, where: str) -> set[str]:
    """The names of a CSV file, none where ``path`` is a folder: no file is named."""
    return set() if path.is_dir() else {name for row in rows(path, where) for name in row}


@dataclass(frozen=True, slots=True)
class Capture:
    """Where in an answer a value is."""

    kind: str
    """``json``, ``cookie``, ``header`` or ``form``."""
    name: str
    pattern: re.Pattern[str] | None = None
    """Its first group is the value."""

    @classmethod
    def of(cls, source: str, where: str) -> Capture:
        """From ``header:Location /orders/([0-9]+)``. Raises ConfigurationError."""
        place, _, pattern = source.partition(" ")
        kind, _, name = place.partition(":")
        if kind not in ("json", "cookie", "header", "form") or not name:
            raise ConfigurationError(
                f"{where}: expected json:$.path, cookie:NAME, header:NAME or form:FIELD, "
                f"got {source!r}"
            )
        if kind == "json" and not PATH.fullmatch(name):
            raise ConfigurationError(f"{where}: expected a path like $.items[0].id, got {name}")
        try:
            compiled = re.compile(pattern.strip()) if pattern.strip() else None
        except re.error as error:
            raise ConfigurationError(f"{where}: invalid pattern: {error}") from None
        if compiled is not None and compiled.groups != 1:
            raise ConfigurationError(f"{where}: expected a pattern with one group, got {pattern}")
        return cls(kind, name, compiled)

    def value(self, response: Response, jar: Jar) -> str | None:
        """The value, as text; None where the answer has none."""
        found = self._found(response, jar)
        if found is None or self.pattern is None:
            return found
        match = self.pattern.search(found)
        return match[1] if match else None

    def _found(self, response: Response, jar: Jar) -> str | None:
        if self.kind == "cookie":
            return jar.get(self.name)
        if self.kind == "header":
            text = response.header(self.name)
            # A redirect may name its host; a path of the load has none.
            return text if text is None or self.name.lower() != "location" else _path(text)
        if self.kind == "json":
            return _in_json(response.body, self.name)
        return form_fields(response.body.decode("utf-8", "replace")).get(self.name)


def _path(location: str) -> str:
    parts = urlsplit(location)
    return parts._replace(scheme="", netloc="").geturl() or "/"


def _in_json(body: bytes, path: str) -> str | None:
    try:
        value = json.loads(body)
        for key, index in STEP.findall(path):
            value = value[key if key else int(index)]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return value if isinstance(value, str) else json.dumps(value)


def form_fields(page: str) -> dict[str, str]:
    """Name and value of the inputs of a page's forms."""
    fields = _Fields()
    fields.feed(page)
    return fields.values


class _Fields(HTMLParser):
    """The values of the inputs of a page's forms."""

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "input" and found.get("name") and found.get("value") is not None:
            self.values.setdefault(str(found["name"]), str(found["value"]))


@dataclass(frozen=True, slots=True)
class Response:
    """What a user looks at of an answer."""

    status: int
    headers: Sequence[tuple[str, str]] = ()
    body: bytes = b""

    def header(self, name: str) -> str | None:
        return next((text for key, text in self.headers if key.lower() == name.lower()), None)


class Jar:
    """The cookies of one user and one host; paths and ``Secure`` are not looked at."""

    def __init__(self) -> None:
        self._cookies: dict[str, tuple[str, float]] = {}
        """Name -> value, and until when it is valid (seconds since the epoch)."""

    def get(self, name: str) -> str | None:
        value, until = self._cookies.get(name, ("", 0.0))
        return value if until > time.time() else None

    def header(self) -> str:
        """The value of ``Cookie``; empty if there is none."""
        pairs = [(name, self.get(name)) for name in self._cookies]
        return "; ".join(f"{name}={value}" for name, value in pairs if value is not None)

    def take(self, response: Response) -> None:
        """Keep what its ``Set-Cookie`` headers say (RFC 6265, 5.2)."""
        for key, text in response.headers:
            if key.lower() == "set-cookie":
                pair, *rest = text.split(";")
                name, _, value = pair.strip().partition("=")
                self._cookies[name] = value, _until(rest)


def _until(attributes: Sequence[str]) -> float:
    found = {}
    for each in attributes:
        key, _, value = each.strip().partition("=")
        found[key.lower()] = value
    if re.fullmatch(r"-?\d+", found.get("max-age", "")):
        return time.time() + int(found["max-age"])
    try:
        return parsedate_to_datetime(found["expires"]).timestamp()
    except (KeyError, ValueError):
        return float("inf")


@dataclass(frozen=True, slots=True)
class Message:
    """One request as it is sent."""

    path: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None


class User:
    """A client with an identity: each worker of the load has one."""

    def __init__(
        self, values: Mapping[str, str], headers: Mapping[str, str], keeps_cookies: bool
    ) -> None:
        """``values`` are those of its account, ``headers`` go with all requests but logins."""
        self.values = dict(values)
        self.jar = Jar()
        self._headers = headers
        self._keeps = keeps_cookies
        self.live: dict[str, Capture] = {}
        """Captured cookies: a value is that of the jar."""

    def message(
        self, request: Any, values: Mapping[str, str] | None = None, *, login: bool = False
    ) -> Message:
        """``request`` with its placeholders filled; ``values`` go before the user's own."""
        known = _Values({**self.values, **self._cookies(), **(values or {})})
        own = {} if login else self._headers
        headers = {
            key: _clean(known.fill(text)) for key, text in {**own, **request.headers}.items()
        }
        if self._keeps and (cookies := self.jar.header()) and not _has(headers, "cookie"):
            headers["Cookie"] = cookies
        body, type_ = _body(request, known)
        if type_ and not _has(headers, "content-type"):
            headers["Content-Type"] = type_
        return Message(quote(known.fill(request.path), safe=_IN_PATH), headers, body)

    def take(self, request: Any, response: Response) -> dict[str, str | None]:
        """Keep the cookies of an answer; the values that are to be captured from it."""
        if self._keeps:
            self.jar.take(response)
        found: dict[str, str | None] = {}
        for name, source in request.capture.items():
            capture = Capture.of(source, name)
            found[name] = capture.value(response, self.jar)
            if capture.kind == "cookie":
                self.live[name] = capture
        return found

    def become(self, other: User) -> None:
        """Be who has logged in as ``other``."""
        self.values, self.jar, self.live = other.values, other.jar, other.live

    def anew(self, values: Mapping[str, str]) -> User:
        """Somebody with the same rights to begin with, who has not logged in."""
        return User(values, self._headers, self._keeps)

    def _cookies(self) -> dict[str, str]:
        nothing = Response(200)
        found = {name: each.value(nothing, self.jar) for name, each in self.live.items()}
        return {name: value for name, value in found.items() if value is not None}


class _Values:
    """The values of the placeholders of one request; one that is made is made once."""

    def __init__(self, known: Mapping[str, str]) -> None:
        self._known = dict(known)

    def fill(self, text: str) -> str:
        """``text``, in which a name that is not known stays."""

        def replacement(match: re.Match[str]) -> str:
            name = match[1]
            if name not in self._known and name in BUILT_IN:
                self._known[name] = BUILT_IN[name]()
            return self._known.get(name, match[0])

        return _PLACEHOLDER.sub(replacement, text)

    def fill_all(self, value: Any) -> Any:
        """All texts in a JSON value."""
        if isinstance(value, dict):
            return {self.fill(key): self.fill_all(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.fill_all(item) for item in value]
        return self.fill(value) if isinstance(value, str) else value


def basic(user_and_password: str) -> str:
    """The value of ``Authorization`` (RFC 7617)."""
    return "Basic " + base64.b64encode(user_and_password.encode()).decode()


def _body(request: Any, known: _Values) -> tuple[bytes | None, str]:
    """A request's body and its content type."""
    if request.json is not None:
        return json.dumps(known.fill_all(request.json)).encode(), "application/json"
    form = {key: known.fill(text) for key, text in request.form.items()}
    if request.files:
        return _multipart(form, request.files)
    if form:
        return urlencode(form).encode(), FORM
    return (known.fill(request.body).encode() if request.body else None), ""


def _multipart(form: Mapping[str, str], files: Mapping[str, str]) -> tuple[bytes, str]:
    """A form with files (RFC 7578)."""
    boundary = f"seism-{secrets.token_hex(12)}"
    parts = [*_parts(form, files)]
    body = b"".join(b"--%s\r\n%s\r\n" % (boundary.encode(), part) for part in parts)
    return body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def _parts(form: Mapping[str, str], files: Mapping[str, str]) -> Iterator[bytes]:
    for name, text in form.items():
        yield f'Content-Disposition: form-data; name="{name}"\r\n\r\n{text}'.encode()
    for name, file in files.items():
        path = Path(file)
        head = (
            f'Content-Disposition: form-data; name="{name}"; filename="{path.name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        yield head.encode() + path.read_bytes()


def _has(headers: Mapping[str, str], name: str) -> bool:
    return any(key.lower() == name for key in headers)


def _clean(text: str) -> str:
    """A header's value without what would end it."""
    return "".join(c for c in text if c.isprintable()).encode("utf-8").decode("latin-1")
