"""``KEY=VALUE`` arguments, read as the declarations say."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from seism.errors import ConfigurationError
from seism.options import describe, nearest


def attributes(given: Sequence[str], declared: type[Any] | None, where: str) -> dict[str, Any]:
    """The values by key. Numbers, true, false, lists and objects are written as in JSON;
    for a key that is declared as a string, and for what is no JSON, the text is the value.
    ``tls.key=x`` is the key ``key`` of the table ``tls``.

    ``declared`` None: the declaration is not known here, the sidecar will judge.
    Raises ConfigurationError.
    """
    kinds = {key.name: key.type for key in describe(declared)} if declared else {}
    values: dict[str, Any] = {}
    for each in given:
        key, equals, text = each.partition("=")
        if not equals or not key:
            raise ConfigurationError(f"{where}: {each!r} is not allowed, it must be KEY=VALUE")
        head, dot, inner = key.partition(".")
        if declared and head not in kinds:
            raise ConfigurationError(f"{where}: unknown key {head!r}{nearest(head, kinds)}")
        table = values.setdefault(head, {}) if dot else values
        if not isinstance(table, dict) or (inner if dot else head) in table:
            raise ConfigurationError(f"{where}: {head!r} is given twice")
        table[inner if dot else head] = _value(text, "" if dot else kinds.get(head, ""))
    return values


def _value(text: str, kind: str) -> Any:
    if kind.split(" ")[0] == "str":
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
