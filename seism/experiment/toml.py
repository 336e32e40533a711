"""Writes tables as TOML, which the standard library only reads."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def write(document: Mapping[str, Any]) -> str:
    """``document`` with its tables, and lists of tables, below their names."""
    return "\n".join(_table(document, ())).strip() + "\n"


def _table(values: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    below = {key: value for key, value in values.items() if _is_table(value, path)}
    for key, item in values.items():
        if key not in below:
            yield f"{_key(key)} = {value(item)}"
    for key, item in below.items():
        name = ".".join(map(_key, (*path, key)))
        for each in item if isinstance(item, list) else [item]:
            yield ""
            yield f"[[{name}]]" if isinstance(item, list) else f"[{name}]"
            yield from _table(each, (*path, key))


def _is_table(value: Any, path: tuple[str, ...]) -> bool:
    """A table of its own; what is deeper than two stands in one line."""
    if isinstance(value, Mapping):
        return not path
    tables = isinstance(value, list) and bool(value)
    return tables and all(isinstance(each, Mapping) for each in value)


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else string(key)


def value(item: Any) -> str:
    """``item`` as a value in one line."""
    if isinstance(item, Mapping):
        pairs = ", ".join(f"{_key(key)} = {value(each)}" for key, each in item.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(item, list | tuple):
        return f"[{', '.join(map(value, item))}]"
    return string(item) if isinstance(item, str) else json.dumps(item)


def string(text: str) -> str:
    """``text`` as a string of TOML: one of JSON, but for DEL and for halves of characters."""
    whole = text.encode("utf-8", "replace").decode()
    return json.dumps(whole, ensure_ascii=False).replace("\x7f", "\\u007f")
