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
import functools
import json
import os
import struct
import types
import typing
from collections.abc import Callable
from typing import Any

from seism_middleware.contract import KINDS

PROTOCOL = "seism/1"
STREAM_PATH = "/seism/stream"
MAX_LINE = 64 * 1024
MAX_NUMBER = 1e9
"""Seconds, or any other float of a record: some 30 years."""
MAX_WHOLE = (1 << 53) - 1
"""The largest int of a record: every reader of JSON has it exactly."""
RING_COUNT = struct.Struct("@Q")
RING_HEAD = 64
"""Layout of ``Welcome.ring``: a count of bytes, the key, and from here on the lines. The
count is in the machine's own order, so that it is written as one word."""


class ContractError(ValueError):
    """A line of the stream that is not what these modules describe."""


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
    for name, check in _CHECKS.get(cls) or _checks(cls):
        if name in values:
            try:
                arguments[name] = check(values[name])
            except _WrongType as error:
                raise ContractError(f"{cls.__name__}.{name}: expected {error}") from None
    try:
        return cls(**arguments)
    except TypeError as error:
        raise ContractError(f"{cls.__name__}: {error}") from None


class _WrongType(Exception):
    """A value is not of the declared type; says what was expected."""


_Check = Callable[[Any], Any]
"""The value as the record holds it. Raises _WrongType."""
_CHECKS: dict[type[Any], tuple[tuple[str, _Check], ...]] = {}


def _checks(cls: type[Any]) -> tuple[tuple[str, _Check], ...]:
    """What each field of ``cls`` takes, from its declared type."""
    hints = typing.get_type_hints(cls)
    found = tuple((field_.name, _check(hints[field_.name])) for field_ in dataclasses.fields(cls))
    _CHECKS[cls] = found
    return found


def _check(hint: Any) -> _Check:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        inner = _check(next(each for each in arguments if each is not type(None)))
        return lambda value: None if value is None else inner(value)
    if origin is tuple:
        return _many(_check(arguments[0]))
    if origin is dict:
        return _table(_check(arguments[1]))
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return functools.partial(_build, hint)
    return _SCALARS.get(hint, lambda value: value)


def _many(inner: _Check) -> _Check:
    def check(value: Any) -> Any:
        if not isinstance(value, list):
            raise _WrongType("a list")
        return tuple([inner(each) for each in value])

    return check


def _table(inner: _Check) -> _Check:
    def check(value: Any) -> Any:
        if not isinstance(value, dict):
            raise _WrongType("an object")
        return {_text(key): inner(each) for key, each in value.items()}

    return check


def _text(value: Any) -> str:
    if type(value) is not str:
        raise _WrongType("a string")
    # A lone surrogate, as a path that is not UTF-8 has, can be written nowhere.
    return value if value.isascii() else value.encode("utf-8", "replace").decode()


def _number(value: Any) -> float:
    # Neither NaN nor an infinity is in the range; JSON has neither.
    if type(value) not in (int, float) or not -MAX_NUMBER <= value <= MAX_NUMBER:
        raise _WrongType(f"a number from -{MAX_NUMBER:g} to {MAX_NUMBER:g}")
    number: float = value
    return number


def _whole(value: Any) -> int:
    if type(value) is not int or not -MAX_WHOLE <= value <= MAX_WHOLE:
        raise _WrongType("a whole number of at most 53 bits")
    return value


def _truth(value: Any) -> bool:
    if type(value) is not bool:
        raise _WrongType("true or false")
    return value


_SCALARS: dict[Any, _Check] = {str: _text, float: _number, int: _whole, bool: _truth}


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
    if number is not None and not (type(number) is int and 0 < number <= MAX_WHOLE):
        raise ContractError(f"n: expected a whole number from 1, got {str(number)[:40]}")
    return record, number


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
