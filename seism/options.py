"""Options declared once.

A dataclass whose fields are made by ``option()`` is the one declaration of its keys:
``build`` validates input against it, ``describe`` feeds help, schema and docs.

    @dataclass(frozen=True, slots=True)
    class Latency:
        latency: int = option(0, help="delay of each chunk", unit="ms", minimum=0)
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from seism.errors import ConfigurationError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Option:
    """What is known of one key beside its name, type and default."""

    help: str
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    addition: bool = False
    """Not a key of the format that is followed: not shown while it has its default."""
    fixed: bool = False
    """Given once: what has it keeps it."""

    @property
    def allowed(self) -> str:
        """The allowed values in words, empty where anything of the type is."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        unit = f" {self.unit}" if self.unit else ""
        if self.minimum is not None and self.maximum is not None:
            return f"{_number(self.minimum)} to {_number(self.maximum)}{unit}"
        if self.minimum is not None:
            return f"at least {_number(self.minimum)}{unit}"
        if self.maximum is not None:
            return f"at most {_number(self.maximum)}{unit}"
        return ""


@dataclass(frozen=True, slots=True)
class Described:
    """One key of a declaration, for help and docs."""

    name: str
    type: str
    default: Any
    required: bool
    option: Option


def option(
    default: Any = dataclasses.MISSING,
    *,
    help: str,
    unit: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    addition: bool = False,
    fixed: bool = False,
) -> Any:
    """A dataclass field with its declaration; without ``default`` the key is required."""
    metadata = {"option": Option(help, unit, minimum, maximum, choices, addition, fixed)}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=lambda: dict(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def describe(cls: type[Any]) -> Iterator[Described]:
    """The declared keys of ``cls``, in order."""
    for field in _declared(cls):
        required = field.default is dataclasses.MISSING
        required = required and field.default_factory is dataclasses.MISSING
        yield Described(
            _key(field.name),
            _type_name(_hints(cls)[field.name]),
            None if required or field.default is dataclasses.MISSING else field.default,
            required,
            field.metadata["option"],
        )


def names(cls: type[Any]) -> tuple[str, ...]:
    """The declared keys of ``cls``, in order."""
    return tuple(_key(field.name) for field in _declared(cls))


def part(cls: type[T], whole: Any, **changes: Any) -> T:
    """The ``cls`` in ``whole``, which has all of its keys and more; with ``changes``."""
    given = {field.name: getattr(whole, field.name) for field in _declared(cls)}
    return cls(**{**given, **changes})


def as_json(declared: Any) -> dict[str, Any]:
    """The values by key, as JSON has them; an addition only where it is not at its default."""
    values: dict[str, Any] = {}
    for field in _declared(type(declared)):
        value = getattr(declared, field.name)
        if field.metadata["option"].addition and value == _default(field):
            continue
        is_table = dataclasses.is_dataclass(value) and not isinstance(value, type)
        values[_key(field.name)] = dataclasses.asdict(value) if is_table else value
    return values


def build(cls: type[T], values: Any, where: str, *, lenient: bool = False) -> T:
    """An instance of ``cls`` from a mapping, as it comes out of TOML or JSON.

    ``where`` opens every message; one that ends in a colon is a file. ``lenient`` is
    Toxiproxy's way with JSON: keys match case-insensitively, null means default, unknown
    keys are ignored.
    Raises ConfigurationError, which names the key, its value and what is allowed.
    """
    here = where.rstrip(":")
    if not isinstance(values, Mapping):
        raise ConfigurationError(f"{here}: a table is expected, not {_shown(values)}")
    fields = {_key(field.name): field for field in _declared(cls)}
    if lenient:
        values = _lenient(values, fields)
    else:
        for key in values:
            if key not in fields:
                raise ConfigurationError(f"{here}: unknown key {key!r}{nearest(key, fields)}")
    hints = _hints(cls) if fields else {}
    arguments: dict[str, Any] = {}
    for key, field in fields.items():
        if key in values:
            arguments[field.name] = _convert(
                values[key], hints[field.name], field.metadata["option"], _join(where, key), lenient
            )
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            allowed = field.metadata["option"].allowed
            raise ConfigurationError(
                f"{here}: missing required key {key!r}" + (f" ({allowed})" if allowed else "")
            )
    try:
        return cls(**arguments)
    except ConfigurationError as error:
        raise ConfigurationError(f"{here}: {error}") from None


def nearest(key: str, known: typing.Iterable[str]) -> str:
    """``; did you mean 'x'?`` or the list of what is known."""
    names = sorted(known)
    close = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(names)}" if names else ""


_HINTS: dict[type[Any], dict[str, Any]] = {}


def _hints(cls: type[Any]) -> dict[str, Any]:
    """The types of its fields, evaluated once: that looks at each class of its ancestry."""
    found = _HINTS.get(cls)
    if found is None:
        found = _HINTS[cls] = typing.get_type_hints(cls)
    return found


def _declared(cls: type[Any]) -> list[dataclasses.Field[Any]]:
    return [field for field in dataclasses.fields(cls) if "option" in field.metadata]


def _key(name: str) -> str:
    return name.rstrip("_")


def _default(field: dataclasses.Field[Any]) -> Any:
    made = field.default_factory
    return field.default if made is dataclasses.MISSING else made()


def _lenient(values: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    names = {name.lower(): name for name in known}
    return {
        names[key.lower()]: value
        for key, value in values.items()
        if key.lower() in names and value is not None
    }


def _convert(value: Any, hint: Any, declared: Option, where: str, lenient: bool) -> Any:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        hint = next(arg for arg in typing.get_args(hint) if arg is not type(None))
        origin = typing.get_origin(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return build(hint, value, where, lenient=lenient)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise _wrong(where, value, "a list", declared)
        inner = typing.get_args(hint)[0]
        return tuple(
            _convert(item, inner, declared, f"{where}[{index}]", lenient)
            for index, item in enumerate(value)
        )
    if origin is dict:
        if not isinstance(value, Mapping):
            raise _wrong(where, value, "a table", declared)
        inner = typing.get_args(hint)[1]
        return {
            key: _convert(item, inner, declared, _join(where, key), lenient)
            for key, item in value.items()
        }
    return _scalar(value, hint, declared, where)


def _scalar(value: Any, hint: Any, declared: Option, where: str) -> Any:
    if hint is Any:
        return value
    if hint is bool:
        if not isinstance(value, bool):
            raise _wrong(where, value, "true or false", declared)
        return value
    if hint is int or hint is float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            kind = "a whole number" if hint is int else "a number"
            raise _wrong(where, value, kind, declared)
        if not _finite(value) or (hint is int and value != int(value)):
            raise _wrong(where, value, "a whole number" if hint is int else "a number", declared)
        value = hint(value)
        low, high = declared.minimum, declared.maximum
        if (low is not None and value < low) or (high is not None and value > high):
            raise _wrong(where, value, "", declared)
        return value
    if hint is str:
        if not isinstance(value, str):
            raise _wrong(where, value, "a string", declared)
        if declared.choices and value not in declared.choices:
            raise ConfigurationError(
                f"{where}: {_shown(value)} is not allowed, {declared.allowed}"
                + nearest(value, declared.choices).partition("; known")[0]
            )
        return value
    raise TypeError(f"{where}: options of type {hint} are not supported")


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an int of hundreds of digits
        return False


def _wrong(where: str, value: Any, kind: str, declared: Option) -> ConfigurationError:
    wanted = ", ".join(part for part in (kind, declared.allowed) if part)
    return ConfigurationError(f"{where}: {_shown(value)} is not allowed, it must be {wanted}")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)


def _join(where: str, key: str) -> str:
    if where.endswith(":"):
        return f"{where} {key}"
    return f"{where}.{key}" if where else key


def _type_name(hint: Any) -> str:
    return str(hint).removeprefix("<class '").removesuffix("'>")
