"""``seism toxic``."""

from __future__ import annotations

import inspect as python
import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from seism.commands import complete
from seism.commands.attribute import attributes as read
from seism.commands.option import (
    ATTRIBUTES,
    show_fields,
    show_json,
    show_table,
    sidecar,
    word,
    words,
)
from seism.commands.proxy import TOXIC_COLUMNS, toxic_rows
from seism.errors import ConfigurationError
from seism.model import ToxicSpec
from seism.options import Described, build, describe, nearest

if TYPE_CHECKING:
    from seism.client import Client

F = TypeVar("F", bound=Callable[..., Any])

on = click.argument("proxy", shell_complete=complete.proxies)
named = click.argument("toxic", shell_complete=complete.toxics)
keys = click.argument(
    "attributes", metavar=ATTRIBUTES, nargs=-1, shell_complete=complete.toxic_attributes
)


def common(*, changeable: bool = False) -> Callable[[F], F]:
    """Options for the keys of any toxic that Toxiproxy knows; the others are KEY=VALUE.

    ``changeable``: only those that can be changed, and none has a default.
    """

    def decorate(command: F) -> F:
        others = []
        for key in reversed(list(describe(ToxicSpec))):
            if key.name in ("type", "attributes"):
                continue
            if changeable and key.option.fixed:
                continue
            if key.option.addition:
                text = f"{key.name}: {key.option.help}"
                others.append(
                    "\n".join(
                        textwrap.wrap(text, 74, initial_indent="  ", subsequent_indent="    ")
                    )
                )
                continue
            shown = (
                {} if changeable else {"default": key.default, "show_default": bool(key.default)}
            )
            command = click.option(
                f"--{key.name}", type=_click_type(key), help=_sentence(key.option.help), **shown
            )(command)
        told = "\n".join(["\b", "Keys of any toxic, beside those of its type:", *others[::-1]])
        command.__doc__ = f"{python.cleandoc(command.__doc__ or '')}\n\n{told}\n"
        return command

    return decorate


def _click_type(key: Described) -> Any:
    option = key.option
    if option.choices:
        return click.Choice(option.choices)
    if key.type == "float":
        return click.FloatRange(option.minimum, option.maximum)
    return {"str": str, "int": int}[key.type]


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


@click.group()
def toxic() -> None:
    """List, add and change the toxics of a sidecar that runs.

    \b
    Examples:
      seism toxic types
      seism toxic add db latency latency=1000 jitter=100 --toxicity 0.5
      seism toxic update db latency_downstream latency=50
      seism toxic remove db latency_downstream
    """


@toxic.command("list")
@click.argument("proxy", required=False, shell_complete=complete.proxies)
@sidecar
def list_(client: Client, as_json: bool, proxy: str | None) -> None:
    """Show the toxics of PROXY, or all."""
    if proxy is None:
        found = {name: each["toxics"] for name, each in client.proxies().items()}
    else:
        found = {proxy: client.proxy(proxy).toxics()}
    if as_json:
        show_json([{"proxy": name, **each} for name, toxics in found.items() for each in toxics])
    else:
        rows = (
            (name, *row) for name, toxics in found.items() for row in toxic_rows(toxics)
        )  # fmt: skip
        show_table(("proxy", *TOXIC_COLUMNS), rows, "no toxics")


@toxic.command()
@on
@click.argument("type", shell_complete=complete.types)
@keys
@common()
@sidecar
def add(
    client: Client, as_json: bool, proxy: str, type: str, attributes: tuple[str, ...],
    **common: Any,
) -> None:  # fmt: skip
    """Put a toxic of TYPE on PROXY, on live connections too.

    "seism toxic types" shows the types and their keys.

    \b
    Example:
      seism toxic add db latency latency=1000 jitter=100 --toxicity 0.5
    """
    declared = _declared(type)
    where = f"toxic {type}: attributes"
    own, others = _split(attributes, declared)
    fields = read(own, ToxicSpec, f"toxic {type}")
    build(ToxicSpec, {"type": type, **fields}, f"toxic {type}")
    values = read(others, declared, where)
    if declared is not None:
        build(declared, values, where)
    try:
        added = client.proxy(proxy).add_toxic(type, attributes=values, **common, **fields)
    except ConfigurationError as error:
        if declared is not None:
            raise
        # The sidecar may know types that are not installed here, but not this one.
        from seism.registry import load

        raise ConfigurationError(f"{error} {type!r}{nearest(type, load().toxics)}") from None
    _show(added.get(), as_json)


@toxic.command()
@on
@named
@keys
@common(changeable=True)
@sidecar
def update(
    client: Client, as_json: bool, proxy: str, toxic: str, attributes: tuple[str, ...],
    **common: Any,
) -> None:  # fmt: skip
    """Change attributes of a toxic, on live connections too.

    Conditions on exchanges take the place of all those that there were.

    \b
    Examples:
      seism toxic update db latency_downstream latency=50
      seism toxic update db deadlock exchange.table=orders exchange.every=3
    """
    common = {key: value for key, value in common.items() if value is not None}
    if not attributes and not common:
        raise click.UsageError("Missing argument 'KEY=VALUE'.")
    handle = client.proxy(proxy).named(toxic)
    there = handle.get()
    declared = _declared(there["type"])
    where = f"toxic {toxic}: attributes"
    own, others = _split(attributes, declared)
    fields = read(own, ToxicSpec, f"toxic {toxic}")
    values = read(others, declared, where)
    if declared is not None:
        build(declared, {**there["attributes"], **values}, where)
    _show(handle.update(attributes=values, **common, **fields), as_json)


@toxic.command()
@on
@click.argument(
    "toxics", metavar="TOXIC...", nargs=-1, required=True, shell_complete=complete.toxics
)
@sidecar
def remove(client: Client, as_json: bool, proxy: str, toxics: tuple[str, ...]) -> None:
    """Take toxics away, at once."""
    for name in toxics:
        client.remove_toxic(proxy, name)
    if as_json:
        show_json({"removed": list(toxics)})


@toxic.command()
@on
@named
@sidecar
def inspect(client: Client, as_json: bool, proxy: str, toxic: str) -> None:
    """Show one toxic."""
    _show(client.proxy(proxy).named(toxic).get(), as_json)


@toxic.command()
@click.argument("type", required=False, shell_complete=complete.types)
@click.option("--json", "as_json", is_flag=True, help="JSON, for scripts.")
def types(type: str | None, as_json: bool) -> None:
    """Show TYPE, or all types of toxics, with their keys, units and ranges.

    These are the types that are installed here; no sidecar is needed.
    """
    from seism.registry import load

    registry = load()
    chosen = {type: registry.toxic(type)} if type else dict(sorted(registry.toxics.items()))
    if as_json:
        show_json({name: _described(each) for name, each in chosen.items()})
        return
    for number, (name, each) in enumerate(chosen.items()):
        if number:
            click.echo()
        click.echo(f"{name}: {_summary(each)}")
        rows = [
            (key.name, _kind(key), _default(key), key.option.allowed, _help(key))
            for key in describe(each)
        ]
        if rows:
            show_table(("key", "type", "default", "allowed", "meaning"), rows, "")


def _split(given: tuple[str, ...], declared: type[Any] | None) -> tuple[list[str], list[str]]:
    """What belongs to any toxic, such as whom it is for, and what to its type."""
    of_type = {key.name for key in describe(declared)} if declared else set()
    of_any = {key.name for key in describe(ToxicSpec) if key.option.addition} - of_type
    own = [each for each in given if each.partition("=")[0].partition(".")[0] in of_any]
    return own, [each for each in given if each not in own]


def _declared(type: str) -> type[Any] | None:
    """The declaration of a type. Where there is none here, the sidecar may have one."""
    from seism.registry import load

    try:
        return load().toxic(type)
    except ConfigurationError:
        return None


def _described(declared: type[Any]) -> dict[str, Any]:
    return {
        "summary": _summary(declared),
        "attributes": {
            key.name: {
                "type": key.type,
                "required": key.required,
                "default": key.default,
                "unit": key.option.unit,
                "minimum": key.option.minimum,
                "maximum": key.option.maximum,
                "choices": list(key.option.choices),
                "help": key.option.help,
            }
            for key in describe(declared)
        },
    }


def _summary(declared: type[Any]) -> str:
    return " ".join(python.cleandoc(declared.__doc__ or "").split())


def _kind(key: Described) -> str:
    return key.type.replace(" | None", "")


def _default(key: Described) -> str:
    if key.required:
        return "required"
    return "" if key.default in (None, "", (), {}) else word(key.default)


def _help(key: Described) -> str:
    unit = key.option.unit
    return f"{key.option.help} ({unit})" if unit not in key.option.allowed.split() else (
        key.option.help
    )  # fmt: skip


def _show(values: Any, as_json: bool) -> None:
    if as_json:
        show_json(values)
        return
    shown = {"name": values["name"], "type": values["type"], **values}
    shown["attributes"] = words(values["attributes"])
    show_fields((key, word(value)) for key, value in shown.items())
