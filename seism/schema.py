"""JSON schemas (2020-12, as OpenAPI 3.1 has them) from the types that the API speaks.

Understood are scalars, ``Any``, optional, list, tuple and dict types, dataclasses, and
declarations of options, whose units and ranges come along. ``Annotated[T, PARTIAL]`` is
T without required keys; ``Annotated[T, SHOWN]`` is T as an answer has it: a key that is
left out has its default, and there are no others.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from typing import Any

from seism.options import Described, describe

PARTIAL = "partial"
SHOWN = "shown"

Schema = dict[str, Any]

_SCALARS: dict[Any, str] = {
    int: "integer", float: "number", str: "string", bool: "boolean", type(None): "null",
}  # fmt: skip


def of(hint: Any, definitions: dict[str, Schema], how: str = "") -> Schema:
    """The schema of ``hint``; each dataclass in it goes to ``definitions`` and is a reference.

    ``how`` is PARTIAL, SHOWN or empty; it holds for what is nested, too.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return of(arguments[0], definitions, arguments[1])
    if hint is Any:
        return {}
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [of(each, definitions, how) for each in arguments]}
    if origin in (list, tuple):
        return {"type": "array", "items": of(arguments[0], definitions, how)}
    if origin is dict:
        return {"type": "object", "additionalProperties": of(arguments[1], definitions, how)}
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        name = f"{hint.__name__}{how.capitalize()}"
        if name not in definitions:
            definitions[name] = {}
            definitions[name] = _object(hint, definitions, how)
        return {"$ref": f"#/components/schemas/{name}"}
    return {"type": _SCALARS[hint]}


def _object(cls: Any, definitions: dict[str, Schema], how: str) -> Schema:
    hints = typing.get_type_hints(cls)
    described = {key.name: key for key in describe(cls)}
    properties: dict[str, Schema] = {}
    required = []
    for field in dataclasses.fields(cls):
        key = field.name.rstrip("_") if "option" in field.metadata else field.name
        properties[key] = of(hints[field.name], definitions, "" if how == PARTIAL else how)
        if key in described:
            properties[key] = _constrained(properties[key], described[key], default=not how)
        if how != PARTIAL and _has_no_default(field):
            required.append(key)
    schema: Schema = {"type": "object", "description": _summary(cls), "properties": properties}
    if required:
        schema["required"] = required
    if how == SHOWN:
        schema["additionalProperties"] = False
    return schema


def _constrained(schema: Schema, key: Described, default: bool) -> Schema:
    option = key.option
    schema = dict(schema)
    schema["description"] = f"{option.help} ({option.unit})" if option.unit else option.help
    if option.minimum is not None:
        schema["minimum"] = option.minimum
    if option.maximum is not None:
        schema["maximum"] = option.maximum
    if option.choices:
        schema["enum"] = list(option.choices)
    if default and not key.required and key.default is not None:
        schema["default"] = list(key.default) if isinstance(key.default, tuple) else key.default
    return schema


def _has_no_default(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _summary(cls: Any) -> str:
    return inspect.cleandoc(cls.__doc__ or "").partition("\n\n")[0].replace("\n", " ")
