"""``seism reset`` and ``seism tail``."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import click

from seism.commands.option import sidecar
from seism.report.text import clean

if TYPE_CHECKING:
    from seism.client import Client

REMEMBERED = 10_000
"""Perturbations whose end is awaited; of a longer feed the oldest are forgotten."""


@click.command()
@sidecar
def reset(client: Client, as_json: bool) -> None:
    """Enable every proxy and remove every toxic."""
    client.reset()
    if as_json:
        click.echo("{}")


@click.command()
@click.option("--count", "-n", type=click.IntRange(1), help="End after so many records.")
@sidecar
def tail(client: Client, as_json: bool, count: int | None) -> None:
    """Show perturbations as they begin and end, until it is interrupted.

    With --json one record a line, as the journal has them.

    \b
    Examples:
      seism tail
      seism tail --json -n 10
    """
    begun: dict[str, dict[str, Any]] = {}
    shown = missed = 0
    lost = False
    with client.perturbations() as feed:
        while shown != count:
            try:
                values = feed.next_values()
            except StopIteration:
                return
            if feed.missed > missed:
                click.echo(f"seism: {feed.missed - missed} records were missed", err=True)
                missed = feed.missed
            if feed.lost and not lost:
                click.echo("seism: records were missed, the sidecar is another one", err=True)
                lost = True
            if as_json:
                click.echo(json.dumps(values))
            else:
                click.echo(f"{time.strftime('%H:%M:%S')}  {line(values, begun)}")
            shown += 1


def line(values: dict[str, Any], begun: dict[str, dict[str, Any]]) -> str:
    """One record for people. ``begun`` holds what has begun and not ended, by id."""
    kind, id_ = values.get("kind"), str(values.get("perturbation", ""))
    if kind == "perturbation.began":
        begun[id_] = values
        while len(begun) > REMEMBERED:
            del begun[next(iter(begun))]
        what, who = "began", values
    elif kind == "perturbation.ended":
        what, who = "ended", begun.pop(id_, {})
    else:
        return clean(f"{kind}  {json.dumps(values)}")
    parts = [what, who.get("proxy", "?"), who.get("toxic", id_)]
    if what == "ended":
        parts.append(values.get("outcome", ""))
        if "at" in who and "at" in values:
            parts.append(f"after {values['at'] - who['at']:.3f} s")
    else:
        exchange = who.get("exchange")
        parts += [who.get("type", ""), exchange["kind"] if exchange else who.get("stream", "")]
    parts.append(who.get("client", ""))
    if values.get("offset") is not None:
        parts.append(f"byte {values['offset']}")
    return clean("  ".join(str(part) for part in parts if part != ""))
