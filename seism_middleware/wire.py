"""How the records of ``seism_middleware.contract`` travel, and how they stand in the journal.

The stream is one TCP connection per worker, opened by the worker to the sidecar's control
address as an HTTP/1.1 upgrade of ``STREAM_PATH`` to ``PROTOCOL``. After the 101 both sides write
JSON objects, one per line, UTF-8, no line longer than ``MAX_LINE`` bytes. Each line is one
record; ``kind`` names its class. Lines of an unknown kind and unknown fields are ignored, so
that either side may be newer.

Stdlib only: this module is imported by the app's process and by the sidecar.
"""

from __future__ import annotations

import dataclasses
import json
import os
import struct
from collections.abc import Callable
from typing import Any

from seism_middleware.contract import (
    KINDS,
    Census,
    Clock,
    Hello,
    LoggedError,
    OpenConnection,
    PerturbationBegan,
    PerturbedExchange,
    Proxied,
    Proxies,
    Refused,
    RequestEnded,
    SendCount,
    Welcome,
)

PROTOCOL = "seism/1"
STREAM_PATH = "/seism/stream"
MAX_LINE = 64 * 1024
RING_COUNT = struct.Struct("@Q")
RING_HEAD = 64
"""Layout of ``Welcome.ring``: a count of bytes, the key, and from here on the lines. The
count is in the machine's own order, so that it is written as one word."""


class ContractError(ValueError):
    """A line of the stream that is not what these modules describe."""


# Fields that hold other records: (record, field) -> (class, is a tuple of them).
_NESTED: dict[tuple[type[Any], str], tuple[type[Any], bool]] = {
    (Hello, "clock"): (Clock, False),
    (Welcome, "clock"): (Clock, False),
    (Welcome, "proxies"): (Proxied, True),
    (Proxies, "proxies"): (Proxied, True),
    (PerturbationBegan, "exchange"): (PerturbedExchange, False),
    (RequestEnded, "errors"): (LoggedError, True),
    (RequestEnded, "sends"): (SendCount, True),
    (RequestEnded, "refused"): (Refused, True),
    (Census, "connections"): (OpenConnection, True),
}


def to_dict(record: Any) -> dict[str, Any]:
    """The JSON object of ``record``, its ``kind`` first; values at their default are left out."""
    return {"kind": record.kind, **_fields(record)}


def _fields(record: Any) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, default in _defaults(type(record)):
        value = getattr(record, name)
        if value is default or value == default:
            continue
        if isinstance(value, tuple):
            values[name] = [_fields(v) if dataclasses.is_dataclass(v) else v for v in value]
        elif dataclasses.is_dataclass(value):
            values[name] = _fields(value)
        else:
            values[name] = value
    return values


_DEFAULTS: dict[type[Any], tuple[tuple[str, Any], ...]] = {}


def _defaults(cls: type[Any]) -> tuple[tuple[str, Any], ...]:
    found = _DEFAULTS.get(cls)
    if found is None:
        found = tuple((f.name, f.default) for f in dataclasses.fields(cls))
        _DEFAULTS[cls] = found
    return found


def encode(record: Any, number: int | None = None) -> bytes:
    """One line, newline included. ``number`` is the record's number in its worker's stream.

    It is what ``json`` makes of ``to_dict``, without the dictionary in between: this runs
    twice in every request.
    """
    cls = type(record)
    end = "}\n" if number is None else f',"n":{number}}}\n'
    return f'{{"kind":"{cls.kind}"{(_ENCODERS.get(cls) or _encoder(cls))(record)}{end}'.encode()


_ENCODERS: dict[type[Any], Callable[[Any], str]] = {}
"""Class -> what makes the members of its JSON object, each with a comma before it."""


def _encoder(cls: type[Any]) -> Callable[[Any], str]:
    """Written out for the fields of ``cls`` once, as ``dataclasses`` does with its methods."""
    lines = ["def encoder(record):", "    text = ''"]
    names: dict[str, Any] = {"write": _WRITERS.get, "other": _written}
    for field_ in dataclasses.fields(cls):
        name, default = field_.name, field_.default
        names[f"_{name}"] = default
        lines.append(f"    value = record.{name}")
        indent = "    "
        if default is not dataclasses.MISSING:
            lines.append(f"    if value is not _{name} and value != _{name}:")
            indent = "        "
        lines.append(f"{indent}text += ',\"{name}\":' + write(type(value), other)(value)")
    exec("\n".join([*lines, "    return text"]), names)
    encoder: Callable[[Any], str] = names["encoder"]
    _ENCODERS[cls] = encoder
    return encoder


def _written(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{','.join(map(_written, value))}]"
    if dataclasses.is_dataclass(value):
        cls = type(value)
        return f"{{{(_ENCODERS.get(cls) or _encoder(cls))(value)[1:]}}}"
    return json.dumps(value, separators=(",", ":"))


def _float(value: float) -> str:
    # json writes NaN and the infinities in words of its own.
    return repr(value) if value - value == 0.0 else json.dumps(value)


_WRITERS: dict[type[Any], Callable[[Any], str]] = {
    str: json.encoder.encode_basestring_ascii,
    int: int.__repr__,
    float: _float,
}


def from_dict(values: Any, kinds: dict[str, type[Any]] = KINDS) -> Any:
    """The record that ``values`` describes, or None for a kind that is not in ``kinds``.

    Raises ContractError, to blame the sender, for a missing or malformed field.
    """
    if not isinstance(values, dict):
        raise ContractError(f"a record is a JSON object, not {type(values).__name__}")
    kind = values.get("kind", "")
    if not isinstance(kind, str):
        raise ContractError(f"a kind is a string, not {type(kind).__name__}")
    cls = kinds.get(kind)
    return None if cls is None else _build(cls, values)


def _build(cls: type[Any], values: Any) -> Any:
    if not isinstance(values, dict):
        raise ContractError(f"{cls.__name__}: a JSON object was expected")
    arguments: dict[str, Any] = {}
    for name, _ in _defaults(cls):
        if name not in values:
            continue
        value = values[name]
        nested = _NESTED.get((cls, name))
        if nested is not None:
            inner, many = nested
            if many and not isinstance(value, list):
                raise ContractError(f"{cls.__name__}.{name}: a list was expected")
            value = tuple(_build(inner, v) for v in value) if many else _build(inner, value)
        elif isinstance(value, list):
            value = tuple(value)
        arguments[name] = value
    try:
        return cls(**arguments)
    except TypeError as error:
        raise ContractError(f"{cls.__name__}: {error}") from None


def decode(line: bytes) -> tuple[Any, int | None]:
    """``(record or None, its number or None)`` of one line.

    Raises ContractError for a line that is not a record.
    """
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:  # the latter for brackets in brackets
        raise ContractError(f"not JSON: {error}") from None
    record = from_dict(values)
    number = values.get("n")
    return record, number if isinstance(number, int) else None


def clock_domain() -> str:
    """Names the monotonic clock of this process: the boot and the time namespace."""
    parts = []
    for path, read in (
        ("/proc/sys/kernel/random/boot_id", True),
        ("/proc/self/ns/time", False),
    ):
        try:
            if read:
                with open(path, encoding="ascii") as file:
                    parts.append(file.read().strip())
            else:
                parts.append(os.readlink(path))
        except OSError:
            parts.append("-")
    return " ".join(parts)
