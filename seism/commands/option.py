"""What these commands share: where the sidecar is, and how answers are shown."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from seism.errors import SeismError

if TYPE_CHECKING:
    from seism.client import Client

SIDECAR_HELP = "host:port of its control API; SEISM_TOKEN may hold the token it wants."
ATTRIBUTES = "[KEY=VALUE]..."


class Refused(SeismError):
    """The sidecar said no, for a reason that is not one of the user's usual mistakes."""

    exit_code = 2


def sidecar(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds ``--sidecar`` and ``--json``; the command takes a ``client`` and ``as_json``."""

    @click.option(
        "--sidecar", metavar="HOST:PORT", envvar="SEISM_SIDECAR", show_envvar=True,
        default="127.0.0.1:8474", show_default=True, help=SIDECAR_HELP,
    )  # fmt: skip
    @click.option("--json", "as_json", is_flag=True, help="JSON, for scripts.")
    @functools.wraps(command)
    def connected(*arguments: Any, sidecar: str, **options: Any) -> Any:
        try:
            with connect(sidecar) as client:
                return command(*arguments, client=client, **options)
        except SeismError as error:
            if error.exit_code == 2:
                raise
            raise Refused(str(error)) from None

    return connected


def connect(sidecar: str, timeout: float = 10) -> Client:
    # It takes as long to load as all the rest of a command's start.
    from seism.client import Client

    return Client(sidecar, token=os.environ.get("SEISM_TOKEN", ""), timeout=timeout)


def show_json(values: Any) -> None:
    click.echo(json.dumps(values, indent=2))


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
    """``rows`` as far as the terminal is wide, nothing cut off; ``empty`` if there is none."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from seism.report.text import clean

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(clean(cell)) for cell in row))
    if table.row_count:
        Console().print(table)
    else:
        click.echo(empty)


def show_fields(fields: Iterable[tuple[str, object]]) -> None:
    """One field a line."""
    from seism.report.text import clean

    pairs = list(fields)
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        click.echo(f"{name:{width}}  {clean(value)}")


def words(values: dict[str, Any]) -> str:
    """Attributes as they are given on the command line."""
    return " ".join(f"{key}={word(value)}" for key, value in values.items())


def word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
