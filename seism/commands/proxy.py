"""``seism proxy``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

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
from seism.model import ProxySpec
from seism.options import build

if TYPE_CHECKING:
    from seism.client import Client

one = click.argument("name", metavar="PROXY", shell_complete=complete.proxies)
several = click.argument(
    "proxies", metavar="PROXY...", nargs=-1, required=True, shell_complete=complete.proxies
)
keys = click.argument(
    "attributes", metavar=ATTRIBUTES, nargs=-1, shell_complete=complete.proxy_attributes
)


@click.group()
def proxy() -> None:
    """List, add and change the proxies of a sidecar that runs.

    \b
    Examples:
      seism proxy add db upstream=127.0.0.1:5432 listen=127.0.0.1:15432
      seism proxy disable db
      seism proxy list --json
    """


@proxy.command("list")
@sidecar
def list_(client: Client, as_json: bool) -> None:
    """Show all proxies."""
    found = client.proxies()
    if as_json:
        show_json(list(found.values()))
    else:
        show_table(
            ("proxy", "listen", "upstream", "state", "toxics"),
            (
                (
                    each["name"], each["listen"], each["upstream"], _state(each),
                    ", ".join(toxic["name"] for toxic in each["toxics"]),
                )
                for each in found.values()
            ),
            "no proxies",
        )  # fmt: skip


@proxy.command()
@click.argument("name", metavar="PROXY")
@keys
@sidecar
def add(client: Client, as_json: bool, name: str, attributes: tuple[str, ...]) -> None:
    """Add a proxy.

    \b
    Keys: upstream (required), listen (a free port of 127.0.0.1), enabled (true),
    protocol (what the backend speaks, such as redis).
    Example:
      seism proxy add db upstream=127.0.0.1:5432 listen=127.0.0.1:15432
    """
    where = f"proxy {name}"
    values = {**read(attributes, ProxySpec, where), "name": name}
    build(ProxySpec, values, where)
    _show(client.call("POST", "/proxies", values), as_json)


@proxy.command()
@one
@keys
@sidecar
def update(client: Client, as_json: bool, name: str, attributes: tuple[str, ...]) -> None:
    """Change a proxy; another address drops its connections.

    \b
    Example:
      seism proxy update db upstream=127.0.0.1:5433
    """
    where = f"proxy {name}"
    values = read(attributes, ProxySpec, where)
    if not values:
        raise click.UsageError("Missing argument 'KEY=VALUE'.")
    build(ProxySpec, {"upstream": "", **values, "name": name}, where)
    _show(client.proxy(name).update(**values), as_json)


@proxy.command()
@several
@sidecar
def remove(client: Client, as_json: bool, proxies: tuple[str, ...]) -> None:
    """Stop proxies and forget them."""
    for name in proxies:
        client.proxy(name).delete()
    _done(as_json, {"removed": list(proxies)})


@proxy.command()
@one
@sidecar
def inspect(client: Client, as_json: bool, name: str) -> None:
    """Show one proxy and its toxics."""
    _show(client.proxy(name).get(), as_json)


@proxy.command()
@several
@sidecar
def enable(client: Client, as_json: bool, proxies: tuple[str, ...]) -> None:
    """Let proxies listen again."""
    for name in proxies:
        client.enable(name, True)
    _done(as_json, {"enabled": list(proxies)})


@proxy.command()
@several
@sidecar
def disable(client: Client, as_json: bool, proxies: tuple[str, ...]) -> None:
    """Take backends down: connections are cut, new ones refused."""
    for name in proxies:
        client.enable(name, False)
    _done(as_json, {"disabled": list(proxies)})


def toxic_rows(toxics: Iterable[dict[str, Any]]) -> Iterable[tuple[Any, ...]]:
    """The cells after the proxy's of a table of toxics."""
    for each in toxics:
        yield (
            each["name"], each["type"], each["stream"], f"{each['toxicity']:g}",
            words(each["attributes"]),
        )  # fmt: skip


TOXIC_COLUMNS = ("toxic", "type", "stream", "toxicity", "attributes")


def _show(values: Any, as_json: bool) -> None:
    if as_json:
        show_json(values)
        return
    shown = {**values, "state": _state(values)}
    toxics = shown.pop("toxics", [])
    shown.pop("enabled", None)
    show_fields((key, word(value)) for key, value in shown.items())
    if toxics:
        click.echo()
        show_table(TOXIC_COLUMNS, toxic_rows(toxics), "")


def _state(values: Any) -> str:
    return "enabled" if values["enabled"] else "disabled"


def _done(as_json: bool, values: dict[str, list[str]]) -> None:
    if as_json:
        show_json(values)
