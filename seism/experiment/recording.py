"""A load from what others have written down: a browser's recording (HAR) or an OpenAPI document.

Credentials become variables of the environment. A value of a recording that an earlier answer gave,
such as a CSRF token, a bearer token or an id, becomes a capture.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from seism.errors import ConfigurationError
from seism.experiment.user import form_fields

STATIC = re.compile(r"(?i)^(?:image|font|audio|video)/|css|javascript|wasm")
"""Types of answers that a server of files gives."""
SECRET = re.compile(r"(?i)pass|secret|token|api.?key|auth|credential|signature|otp|csrf|card")
"""Names of values that are credentials."""
KEPT_HEADERS = re.compile(
    r"(?i)accept|authorization|content-type|x-requested-with|.*csrf.*|.*xsrf.*|.*api-?key|.*token"
)
TOKEN_LENGTH = 12
"""Characters from which on a value that occurs again is one that was given."""
ID_KEY = re.compile(r"(?i)(?:^|[._])(?:id|pk|uuid|key|slug|number)$")
METHODS = ("get", "post", "put", "patch", "delete", "head")


@dataclass(slots=True)
class Recording:
    """What a seism.toml gets from it."""

    setup: dict[str, Any] = field(default_factory=dict)
    load: dict[str, Any] = field(default_factory=dict)
    variables: list[str] = field(default_factory=list)
    """Of the environment, which have to be set."""
    notes: list[str] = field(default_factory=list)
    """What it could not find out."""

    def variable(self, name: str) -> str:
        """``${NAME}`` for the credential ``name``."""
        name = re.sub(r"\W+", "_", name).strip("_").upper() or "SECRET"
        name = f"V_{name}" if name[0].isdigit() else name
        if name not in self.variables:
            self.variables.append(name)
        return f"${{{name}}}"


def read(path: Path) -> Recording:
    """The load in ``path``. Raises ConfigurationError."""
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not JSON in UTF-8"
        raise ConfigurationError(f"{path}: {reason}") from None
    entries = _get(document, "log", "entries")
    if isinstance(entries, list):
        found = _from_har(entries)
    elif isinstance(_get(document, "paths"), dict):
        found = _from_openapi(document)
    else:
        raise ConfigurationError(f"{path}: expected a HAR file (log.entries) or OpenAPI (paths)")
    if not found.load:
        raise ConfigurationError(f"{path}: no request that a load could send")
    return found


def recorded(entries: Sequence[Any]) -> Recording:
    """The load in a HAR log's ``entries``. Raises ConfigurationError."""
    found = _from_har(entries)
    if not found.load:
        raise ConfigurationError("nothing was recorded that a load could send")
    return found


def _get(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


class _Given:
    """The values that earlier answers of a recording gave, and where they are there."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._tokens: dict[str, tuple[dict[str, Any], str]] = {}
        self._ids: dict[str, tuple[dict[str, Any], str]] = {}
        self._names: dict[str, str] = {}

    def take(self, step: dict[str, Any], response: Mapping[str, Any]) -> None:
        """Remember what the answer to ``step`` gave."""
        for header in _list(response, "headers"):
            name, text = str(header.get("name", "")), str(header.get("value", ""))
            if name.lower() == "set-cookie":
                for line in text.splitlines():
                    key, _, value = line.partition(";")[0].partition("=")
                    self._tokens[value] = step, f"cookie:{key.strip()}"
            if name.lower() == "location" and (last := urlsplit(text).path.strip("/")):
                last = last.rpartition("/")[2]
                if re.search(r"\d", last):  # a word is a page, not an id
                    self._ids[last] = step, "header:Location ([^/?]+)/?(?:[?].*)?$"
        content = response.get("content") or {}
        text = str(content.get("text") or "")
        if "json" in str(content.get("mimeType")):
            try:
                self._walk(step, json.loads(text), "$")
            except (ValueError, RecursionError):
                return
        elif "html" in str(content.get("mimeType")):
            for name, value in form_fields(text).items():
                self._tokens.setdefault(value, (step, f"form:{name}"))

    def _walk(self, step: dict[str, Any], value: Any, path: str) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                if not re.search(r"[.\[\]]", key):
                    self._walk(step, item, f"{path}.{key}")
        elif isinstance(value, list):
            for index, item in enumerate(value[:20]):
                self._walk(step, item, f"{path}[{index}]")
        elif isinstance(value, str | int) and not isinstance(value, bool):
            self._tokens.setdefault(str(value), (step, f"json:{path}"))
            if ID_KEY.search(path):
                self._ids.setdefault(str(value), (step, f"json:{path}"))

    def text(self, name: str, text: str) -> str:
        """``text``, the value of ``name``, with what was given as ``{placeholders}``."""
        if len(text) >= TOKEN_LENGTH and text in self._tokens:
            return self._captured(self._tokens[text])
        scheme, space, rest = text.partition(" ")
        if space and len(rest) >= TOKEN_LENGTH and rest in self._tokens:
            return f"{scheme} {self._captured(self._tokens[rest])}"
        return self._recording.variable(name) if SECRET.search(name) and text else text

    def path(self, url: str) -> str:
        """Path and query, in which ids and tokens are placeholders."""
        parts = urlsplit(url)
        segments = [
            self._captured(self._ids[each]) if each in self._ids else each
            for each in parts.path.split("/")
        ]
        pairs = [(name, self.text(name, text)) for name, text in parse_qsl(parts.query, True)]
        query = urlencode(pairs, safe="{}$/:,") if pairs else ""
        return ("/".join(segments) or "/") + (f"?{query}" if query else "")

    def json(self, value: Any, name: str = "") -> Any:
        """``value`` with what was given, and without credentials."""
        if isinstance(value, dict):
            return {key: self.json(item, key) for key, item in value.items() if item is not None}
        if isinstance(value, list):
            return [self.json(item, name) for item in value if item is not None]
        return self.text(name, value) if isinstance(value, str) else value

    def _captured(self, given: tuple[dict[str, Any], str]) -> str:
        step, source = given
        own: dict[str, str] = step.setdefault("capture", {})
        for name, known in own.items():
            if known == source:
                return f"{{{name}}}"
        wanted = re.sub(r"\W+", "_", re.split(r"[:.\]]", source.partition(" ")[0])[-1]).strip("_")
        wanted = wanted.lower() if wanted and not wanted[0].isdigit() else "value"
        name = wanted
        for number in range(2, 1000):
            if name not in self._names:
                break
            name = f"{wanted}_{number}"
        self._names[name] = source
        own[name] = source
        return f"{{{name}}}"


def _list(value: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    found = value.get(key)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _from_har(entries: Sequence[Any]) -> Recording:
    """One scenario, in the order of the recording, of the host that got most of its requests."""
    recording = Recording()
    usable = [
        entry for entry in entries
        if str(_get(entry, "request", "url")).startswith("http") and not _is_static(entry)
    ]  # fmt: skip
    hosts = Counter(urlsplit(entry["request"]["url"]).netloc for entry in usable)
    host = hosts.most_common(1)[0][0] if hosts else ""
    given = _Given(recording)
    steps: list[dict[str, Any]] = []
    for entry in usable:
        request = entry["request"]
        if urlsplit(request["url"]).netloc == host:
            step = _step(request, given)
            steps.append(step)
            given.take(step, entry.get("response") or {})
    others = sorted({*hosts} - {host})
    if others:
        recording.notes.append(f"left out, as of other hosts: {', '.join(others[:10])}")
    first = _list(usable[0]["request"], "headers") if usable else []
    if any(str(header.get("name")).lower() == "cookie" for header in first):
        recording.notes.append(
            "the recording begins with cookies: record from the login on, or add a [[setup.login]]"
        )
    if steps:
        recording.load["scenario"] = [{"name": "recorded", "step": steps}]
    return recording


def _is_static(entry: Mapping[str, Any]) -> bool:
    return bool(STATIC.search(str(_get(dict(entry), "response", "content", "mimeType"))))


def _step(request: Mapping[str, Any], given: _Given) -> dict[str, Any]:
    step: dict[str, Any] = {}
    method = str(request.get("method", "GET")).upper()
    if method != "GET":
        step["method"] = method
    step["path"] = given.path(str(request["url"]))
    body = _body(request.get("postData") or {}, given)
    headers = {}
    for header in _list(request, "headers"):
        name, text = str(header.get("name", "")), str(header.get("value", ""))
        made = name.lower() == "content-type" and "body" not in body
        if KEPT_HEADERS.fullmatch(name) and not made:
            headers[name] = given.text(name, text)
    if headers:
        step["headers"] = headers
    return step | body


def _body(posted: Mapping[str, Any], given: _Given) -> dict[str, Any]:
    type_, text = str(posted.get("mimeType", "")), str(posted.get("text") or "")
    if "x-www-form-urlencoded" in type_:
        pairs = [(p.get("name", ""), p.get("value", "")) for p in _list(posted, "params")]
        pairs = pairs or parse_qsl(text, True)
        return {"form": {name: given.text(name, str(value)) for name, value in pairs}}
    if "json" in type_ and text:
        try:
            return {"json": given.json(json.loads(text))}
        except (ValueError, RecursionError):
            pass
    if "multipart" in type_:
        pairs = [(p.get("name", ""), p.get("value") or "") for p in _list(posted, "params")]
        return {"form": {name: given.text(name, str(value)) for name, value in pairs}}
    return {"body": text} if text else {}


def _from_openapi(document: Mapping[str, Any]) -> Recording:
    """A route for each operation of which all values are known or can be made up."""
    recording = Recording()
    routes = []
    for path, item in document["paths"].items():
        for method in METHODS:
            operation = _get(item, method)
            if isinstance(operation, dict):
                route = _route(document, path, method.upper(), item, operation)
                if route is None:
                    recording.notes.append(f"{method.upper()} {path} needs a value in its path")
                else:
                    routes.append(route)
    headers: dict[str, str] = {}
    for name, scheme in (_get(document, "components", "securitySchemes") or {}).items():
        kind, how = _get(scheme, "type"), str(_get(scheme, "scheme")).lower()
        if kind == "http" and how == "basic":
            user, password = recording.variable("api user"), recording.variable("api password")
            recording.setup["basic"] = f"{user}:{password}"
        elif kind in ("oauth2", "openIdConnect") or (kind == "http" and how == "bearer"):
            headers["Authorization"] = f"Bearer {recording.variable('api token')}"
        elif kind == "apiKey" and _get(scheme, "in") == "header":
            headers[str(_get(scheme, "name"))] = recording.variable(name)
    if headers:
        recording.setup["headers"] = headers
    if routes:
        recording.load["route"] = routes
    return recording


def _route(
    document: Mapping[str, Any], path: str, method: str, item: Mapping[str, Any],
    operation: Mapping[str, Any],
) -> dict[str, Any] | None:  # fmt: skip
    query: list[tuple[str, str]] = []
    for raw in (*_list(item, "parameters"), *_list(operation, "parameters")):
        parameter = _resolved(document, raw)
        name, where = str(parameter.get("name")), parameter.get("in")
        known = _example(document, parameter)
        if where == "path":
            if known is None:
                return None
            path = path.replace(f"{{{name}}}", str(known))
        elif where == "query" and parameter.get("required"):
            query.append((name, str(_sample(document, parameter.get("schema"), 0, known))))
    if re.search(r"\{", path):
        return None
    route: dict[str, Any] = {"method": method} if method != "GET" else {}
    route["path"] = path + (f"?{urlencode(query, safe='{}')}" if query else "")
    content = _get(_resolved(document, operation.get("requestBody") or {}), "content") or {}
    for type_, media in content.items():
        key = "json" if "json" in type_ else "form" if "urlencoded" in type_ else ""
        if key:
            body = _sample(document, _get(media, "schema"), 0, _get(media, "example"))
            flat = isinstance(body, dict) and key == "form"
            route[key] = {name: str(value) for name, value in body.items()} if flat else body
            break
    return route


def _resolved(document: Mapping[str, Any], value: Any, depth: int = 0) -> dict[str, Any]:
    reference = _get(value, "$ref")
    if isinstance(reference, str) and depth < 20:
        return _resolved(
            document, _get(document, *reference.removeprefix("#/").split("/")), depth + 1
        )
    return value if isinstance(value, dict) else {}


def _example(document: Mapping[str, Any], holder: Mapping[str, Any]) -> Any:
    """A value that the document itself gives."""
    schema = _resolved(document, holder.get("schema"))
    for each in (holder, schema):
        for key in ("example", "default", "const"):
            if each.get(key) is not None:
                return each[key]
        named = each.get("examples")
        if isinstance(named, dict):
            named = [_get(one, "value") for one in named.values()]
        for values in (named, each.get("enum")):
            if isinstance(values, list) and values:
                return values[0]
    return None


_MADE = {
    "uuid": "{uuid}",
    "date-time": "{now}",
    "date": "2024-02-29",
    "email": "{unique}@example.com",
}


def _sample(document: Mapping[str, Any], raw: Any, depth: int, known: Any = None) -> Any:
    """A value that a schema allows."""
    schema = _resolved(document, raw)
    known = known if known is not None else _example(document, {"schema": schema})
    if known is not None or depth > 10:
        return known if known is not None else "x"
    for key in ("allOf", "anyOf", "oneOf"):
        parts = [_sample(document, each, depth + 1) for each in schema.get(key) or ()]
        parts = [part for part in parts if part is not None]
        if key == "allOf" and parts and all(isinstance(part, dict) for part in parts):
            return {name: value for part in parts for name, value in part.items()}
        if parts:
            return parts[0]
    type_ = schema.get("type")
    type_ = (
        next((each for each in type_ if each != "null"), None) if isinstance(type_, list) else type_
    )
    if type_ == "object" or "properties" in schema:
        needed = set(schema.get("required") or ())
        found = {
            name: _sample(document, each, depth + 1)
            for name, each in (schema.get("properties") or {}).items()
            if name in needed
        }
        return {name: value for name, value in found.items() if value is not None}
    if type_ == "array":
        least = int(schema.get("minItems") or 1)
        return [_sample(document, schema.get("items"), depth + 1) for _ in range(least)]
    if type_ == "boolean":
        return True
    if type_ in ("integer", "number"):
        low = schema.get("minimum")
        low = schema["exclusiveMinimum"] + 1 if _is_number(schema.get("exclusiveMinimum")) else low
        return low if _is_number(low) else 1
    if type_ == "null":
        return None
    text: str = _MADE.get(str(schema.get("format")), "text {unique}")
    longest = schema.get("maxLength")
    if isinstance(longest, int) and longest < 24:
        text = "x" * min(longest, 8)
    return text.ljust(int(schema.get("minLength") or 0), "x")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def lines(recording: Recording) -> Iterator[str]:
    """Comments that say what remains to be done."""
    if recording.variables:
        yield f"# Set these variables: {', '.join(recording.variables)}"
    for note in recording.notes[:40]:
        yield f"# TO DO: {note}"
