"""``/seism/openapi.json``: the API as an OpenAPI 3.1 document.

Made from the rows that the router serves and from the declarations of options, toxics
included: there is no list of its own here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from seism import __version__, schema
from seism.options import describe
from seism.sidecar.control.router import Failure, Route, answer
from seism.toxics.base import Toxic

PATH = "/seism/openapi.json"

_DESCRIPTION = (
    "Toxiproxy's API and Seism's own beside it. Keys of request bodies match in any case, "
    "null is the default, unknown keys are ignored with a Warning header."
)


def routes(others: Sequence[Route], toxics: Mapping[str, type[Toxic]]) -> list[Route]:
    """The row that serves the document of ``others`` and of itself."""
    row = Route(
        "GET", PATH, lambda _: answer(made), summary="This document", gives=dict[str, Any]
    )  # fmt: skip
    made = document([*others, row], toxics)
    return [row]


def document(rows: Sequence[Route], toxics: Mapping[str, type[Toxic]]) -> dict[str, Any]:
    """The whole document for ``rows``; ``toxics`` are the types there are, by name."""
    definitions: dict[str, schema.Schema] = {}
    paths: dict[str, dict[str, Any]] = {}
    for row in rows:
        paths.setdefault(row.path, {})[row.method.lower()] = _operation(row, definitions)
    for path, item in paths.items():
        names = re.findall(r"\{(\w+)\}", path)
        if names:
            item["parameters"] = [_path_parameter(name) for name in names]
    _detail_toxics(definitions, toxics)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Seism", "version": __version__, "description": _DESCRIPTION},
        "security": [{}, {"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": definitions,
        },
    }


def _operation(row: Route, definitions: dict[str, schema.Schema]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": f"{row.method.lower()} {row.path}",
        "summary": row.summary,
        "responses": {str(row.status): _success(row, definitions)},
    }
    for status in _failures(row):
        operation["responses"][str(status)] = {
            "description": HTTPStatus(status).phrase,
            "content": _json(schema.of(Failure, definitions)),
        }
    if row.takes is not None:
        operation["requestBody"] = {
            "required": True,
            "content": _json(schema.of(row.takes, definitions)),
        }
    if row.query is not None:
        operation["parameters"] = _query_parameters(row.query, definitions)
    return operation


def _success(row: Route, definitions: dict[str, schema.Schema]) -> dict[str, Any]:
    said: dict[str, Any] = {"description": HTTPStatus(row.status).phrase}
    if row.gives is not None:
        said["content"] = {row.content: {"schema": schema.of(row.gives, definitions)}}
    return said


def _failures(row: Route) -> list[int]:
    # 401 and 403 are the guard's; 500 is the machine's no, and our own mistakes.
    statuses = {401, 403, 500, *row.errors}
    if row.takes is not None:
        statuses |= {400, 413}
    if row.query is not None:
        statuses.add(400)
    if "{" in row.path:
        statuses.add(404)
    return sorted(statuses)


def _json(values: schema.Schema) -> dict[str, Any]:
    return {"application/json": {"schema": values}}


def _path_parameter(name: str) -> dict[str, Any]:
    return {
        "name": name, "in": "path", "required": True, "schema": {"type": "string"},
        "description": f"name of the {name}",
    }  # fmt: skip


def _query_parameters(
    query: type[Any], definitions: dict[str, schema.Schema]
) -> list[dict[str, Any]]:
    schema.of(query, definitions)
    properties = definitions.pop(query.__name__)["properties"]
    return [
        {
            "name": key.name,
            "in": "query",
            "required": key.required,
            "description": key.option.help,
            "schema": properties[key.name],
        }
        for key in describe(query)
    ]


def _detail_toxics(
    definitions: dict[str, schema.Schema], toxics: Mapping[str, type[Toxic]]
) -> None:
    """Say, per type of toxic, which attributes it has."""
    for name, how in (("ToxicSpec", ""), ("ToxicSpecShown", schema.SHOWN)):
        if name not in definitions:
            continue
        definitions[name]["properties"]["type"]["enum"] = sorted(toxics)
        definitions[name]["allOf"] = [
            {
                "if": {"properties": {"type": {"const": kind}}, "required": ["type"]},
                "then": {"properties": {"attributes": _attributes(cls, definitions, how)}},
            }
            for kind, cls in sorted(toxics.items())
        ]


def _attributes(cls: type[Toxic], definitions: dict[str, schema.Schema], how: str) -> schema.Schema:
    made = schema.of(cls, definitions, how)
    # Two distributions may have toxics whose classes are called the same.
    own, shared = f"toxic.{cls.type}{how.capitalize()}", made["$ref"].rpartition("/")[2]
    definitions[own] = definitions.pop(shared)
    return {"$ref": f"#/components/schemas/{own}"}
