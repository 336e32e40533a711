"""Pages made from what a real sidecar says of itself: its OpenAPI document and its metrics."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from seism.testing import sidecar

JSON = "application/json"


def asked(folder: Path) -> tuple[dict[str, Any], str]:
    """The OpenAPI document and the metrics of a sidecar that runs in ``folder``."""
    with sidecar(folder) as client:
        document = client.call("GET", "/seism/openapi.json")
        request = Request(f"http://{client.address}/metrics", headers=client.headers)
        with urlopen(request, timeout=10) as response:
            return document, response.read().decode()


def metrics(text: str) -> Iterator[str]:
    """A table of the metrics in ``text``, which is in Prometheus' format."""
    yield "| metric | type | what |"
    yield "|---|---|---|"
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    for name, what in re.findall(r"^# HELP (\S+) (.*)$", text, re.MULTILINE):
        yield f"| `{name}` | {types[name]} | {what} |"


def api(document: dict[str, Any]) -> str:
    """The page of all calls and of the objects that they take and give."""
    lines = [
        "# The control API: every call",
        "",
        "Made by `python docs/generate.py` from the OpenAPI document that a sidecar serves at",
        "`/seism/openapi.json`; do not edit. [Here](control-api.md) it is in use.",
        "",
        document["info"]["description"],
        "",
    ]
    for path, item in document["paths"].items():
        lines += [f"## `{path}`", ""]
        for method, operation in item.items():
            if method != "parameters":
                lines += [*_operation(method, operation), ""]
    lines += ["## Objects", ""]
    lines += [
        "The attributes of each type of toxic are in [the reference](reference.md#toxics).",
        "",
    ]
    for name, schema in document["components"]["schemas"].items():
        if not name.startswith("toxic."):
            lines += [f"### `{name}`", "", *_object(schema), ""]
    return "\n".join(lines).rstrip() + "\n"


def _operation(method: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f"**{method.upper()}**: {operation['summary']}."
    yield ""
    for each in operation.get("parameters", ()):
        yield f"- `?{each['name']}=`: {each['description']} ({_type(each['schema'])})"
    if "requestBody" in operation:
        yield f"- takes {_type(operation['requestBody']['content'][JSON]['schema'])}"
    answers = operation["responses"].items()
    refused = [status for status, said in answers if int(status) >= 400]
    for status, said in answers:
        if status not in refused:
            content = said.get("content", {JSON: {"schema": None}})
            ((media, body),) = content.items()
            gives = _type(body["schema"]) if body["schema"] is not None else "nothing"
            yield f"- {status}: {gives if media == JSON else f'`{media}`'}"
    yield f"- or {', '.join(refused)}: [Failure](#failure)"


def _object(schema: dict[str, Any]) -> Iterator[str]:
    yield schema["description"].rstrip(".") + "."
    yield ""
    yield "| key | type | meaning |"
    yield "|---|---|---|"
    required = schema.get("required", ())
    for name, each in schema["properties"].items():
        meaning = each.get("description", "")
        if name in required:
            meaning = f"{meaning}; required" if meaning else "required"
        yield f"| `{name}` | {_type(each)} | {meaning} |"


def _type(schema: dict[str, Any]) -> str:
    """A schema in words; what is an object of its own is a link."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_type(each) for each in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    if schema.get("type") == "object" and "additionalProperties" in schema:
        return f"object of {_type(schema['additionalProperties'])}"
    return str(schema.get("type", "anything"))
