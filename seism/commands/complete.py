"""What the shell offers: names that the sidecar knows, types and keys that are declared.

A shell asks while somebody types: a sidecar that is away, slow or says no means that
nothing is offered, and nothing is said.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable
from typing import Any

import click

from seism.commands.option import connect

SECONDS = 1.0
"""How long the sidecar may take."""

Complete = Callable[[click.Context, click.Parameter, str], list[str]]


def _silent(found: Callable[[click.Context, str], Iterable[str]]) -> Complete:
    @functools.wraps(found)
    def complete(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
        logging.disable(logging.CRITICAL)
        try:
            return [word for word in found(context, incomplete) if word.startswith(incomplete)]
        except Exception:
            return []
        finally:
            logging.disable(logging.NOTSET)

    return complete


@_silent
def proxies(context: click.Context, _: str) -> Iterable[str]:
    """Names of proxies, but for those that are given already."""
    given = context.params.get("proxies") or ()
    return [name for name in _proxies(context) if name not in given]


@_silent
def toxics(context: click.Context, _: str) -> Iterable[str]:
    """Names of the toxics of the proxy that is given."""
    given = context.params.get("toxics") or ()
    there = _proxies(context)[context.params["proxy"]]["toxics"]
    return [toxic["name"] for toxic in there if toxic["name"] not in given]


@_silent
def types(_: click.Context, __: str) -> Iterable[str]:
    """Types of toxics."""
    from seism.registry import load

    return sorted(load().toxics)


@_silent
def toxic_attributes(context: click.Context, incomplete: str) -> Iterable[str]:
    """``KEY=`` of the toxic's type, or, for a toxic that is there, of its type."""
    from seism.registry import load

    kind = context.params.get("type")
    if kind is None:
        there = _proxies(context)[context.params["proxy"]]["toxics"]
        kind = next(each["type"] for each in there if each["name"] == context.params["toxic"])
    return _keys(load().toxic(kind), context, incomplete)


@_silent
def proxy_attributes(context: click.Context, incomplete: str) -> Iterable[str]:
    """``KEY=`` of a proxy."""
    from seism.model import ProxySpec

    return (word for word in _keys(ProxySpec, context, incomplete) if word != "name=")


def _keys(declared: type[Any], context: click.Context, incomplete: str) -> list[str]:
    """Keys; the values of one that has few, once its ``=`` is there."""
    from seism.options import describe

    given = list(context.params.get("attributes") or ())
    values = {
        key.name: ("true", "false") if key.type == "bool" else key.option.choices
        for key in describe(declared)
    }
    # bash takes "=" for a word of its own (click then says nothing is incomplete), and
    # replaces only what comes after it.
    if not incomplete and given and values.get(given[-1]):
        return list(values[given[-1]])
    if len(given) > 1 and given[-1] == "=":
        return list(values[given[-2]])
    key, equals, _ = incomplete.partition("=")
    if equals:
        return [f"{key}={value}" for value in values[key]]
    there = {word.partition("=")[0] for word in given}
    return [f"{name}=" for name in values if name not in there]


def _proxies(context: click.Context) -> dict[str, Any]:
    with connect(context.params.get("sidecar") or "", timeout=SECONDS) as client:
        return client.proxies()
