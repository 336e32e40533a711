"""Toxiproxy's configuration file: a JSON array of proxies.

It is read as Toxiproxy reads it: keys match in any case, null is the default, what is
unknown is ignored, and that is logged. Unlike there, toxics may be given, too.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seism import registry
from seism.errors import ConfigurationError
from seism.model import ProxySpec, ToxicSpec
from seism.options import describe, nearest

log = logging.getLogger(__name__)


def recognised(path: Path, text: str) -> bool:
    """Whether a file is meant as Toxiproxy's: by its name, or as no TOML opens like it."""
    if path.suffix.lower() == ".json":
        return True
    opening = text.lstrip("\ufeff \t\r\n")
    # A TOML file may open with [table] or [[table]]; an array is of objects, or empty.
    return opening[:1] == "[" and opening[1:].lstrip()[:1] in ("{", "]")


def read(text: str, path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Each entry: where it is, for messages, and the values of a backend, still to be checked.

    Raises ConfigurationError with the file and the entry.
    """
    try:
        given = json.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path}: {error}") from None
    if not isinstance(given, list):
        raise ConfigurationError(
            f"{path}: Toxiproxy's configuration is a list of proxies (an experiment of the Chaos "
            "Toolkit is translated by seism import)"
        )
    places = [f"{path}: proxy {number}" for number in range(1, len(given) + 1)]
    return [(where, _proxy(each, where)) for where, each in zip(places, given, strict=True)]


def _proxy(values: Any, where: str) -> dict[str, Any]:
    fields = _fields(values, [*(key.name for key in describe(ProxySpec)), "toxics"], where)
    for key in ("name", "upstream"):
        if fields.get(key, "") == "":
            raise ConfigurationError(f"{where}: missing required key {key!r}")
    toxics = fields.pop("toxics", [])
    if not isinstance(toxics, list):
        raise ConfigurationError(f"{where}: toxics must be a list")
    if fields.get("listen") == "":
        del fields["listen"]
    fields["toxic"] = [_toxic(each, f"{where}: toxic {n}") for n, each in enumerate(toxics, 1)]
    return fields


def _toxic(values: Any, where: str) -> dict[str, Any]:
    fields = _fields(values, [key.name for key in describe(ToxicSpec)], where)
    if isinstance(fields.get("stream"), str):
        fields["stream"] = fields["stream"].lower()
    declared = registry.load().toxics.get(str(fields.get("type")))
    if declared is not None and "attributes" in fields:
        keys = [key.name for key in describe(declared)]
        fields["attributes"] = _fields(fields["attributes"], keys, f"{where}: attributes")
    return fields


def _fields(values: Any, known: list[str], where: str) -> dict[str, Any]:
    """The known keys of an object by their own names."""
    if not isinstance(values, Mapping):
        raise ConfigurationError(f"{where}: an object is expected")
    names = {name.lower(): name for name in known}
    fields = {}
    for key, value in values.items():
        if key.lower() not in names:
            log.warning("%s: unknown key %r is ignored%s", where, key, nearest(key, known))
        elif value is not None:
            fields[names[key.lower()]] = value
    return fields
