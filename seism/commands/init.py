"""``seism init``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from seism.commands.experiment import APP_COMMAND, EXISTING_FILE, WithCommand, interruptible
from seism.report.text import clean


@click.command(cls=WithCommand)
@click.option(
    "--output", type=EXISTING_FILE, default=Path("seism.toml"), show_default=True,
    help="The file to write.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Replace the file if it exists.")
@click.option(
    "--allow", multiple=True, metavar="HOST:PORT",
    help="Go on although the app connects to it and it looks like production; repeatable.",
)  # fmt: skip
@click.option(
    "--header", "headers", multiple=True, metavar="NAME:VALUE",
    help="Send it with each request, as a login's cookie; ${NAME} is from the environment.",
)  # fmt: skip
@click.option(
    "--from", "source", type=EXISTING_FILE, metavar="FILE",
    help="Take the load from a browser's recording (HAR) or an OpenAPI document (JSON).",
)  # fmt: skip
@click.option(
    "--record", is_flag=True,
    help="Record the load: use the app in a browser, at an address that is printed.",
)  # fmt: skip
@click.option("--quiet", is_flag=True, help="No progress, only the result.")
@click.pass_context
def init(
    context: click.Context,
    output: Path,
    force: bool,
    allow: tuple[str, ...],
    headers: tuple[str, ...],
    source: Path | None,
    record: bool,
    quiet: bool,
) -> None:
    """Write a seism.toml for an application that exists, and that what follows -- starts.

    Starts it with the observer injected, asks its routes without parameters (GET only, 20 at most),
    watches what it connects to, asks each such server what it speaks, and ends it. A backend
    that is public or looks like production is refused.

    \b
    Example:
      seism init -- gunicorn -b 127.0.0.1:8000 shop:app
      seism init --from shop.har -- gunicorn -b 127.0.0.1:8000 shop:app
      seism init --record -- gunicorn -b 127.0.0.1:8000 shop:app
    """
    import os

    from rich.console import Console

    from seism.errors import ConfigurationError
    from seism.experiment.config import load
    from seism.experiment.discovery import MAX_ROUTES, discover
    from seism.experiment.draft import draft
    from seism.experiment.recorder import Recorder
    from seism.experiment.recording import read, recorded
    from seism.report.progress import Progress

    command: tuple[str, ...] = context.meta[APP_COMMAND]
    if not command:
        raise click.UsageError("What starts the app is missing: seism init -- COMMAND.")
    if output.exists() and not force:
        raise ConfigurationError(f"{output}: exists already; nothing was written (use --force)")
    if record and source is not None:
        raise click.UsageError("--record and --from are two ways to a load: leave out one.")
    recording = read(source) if source is not None else None
    entries: list[Any] = []

    def use(port: int) -> None:
        if not record:
            return
        recorder = Recorder(port)
        with recorder.listening() as url:
            progress.note(f"open {url} in a browser, use the app, and press Enter here in the end")
            sys.stdin.readline()
        entries.extend(recorder.entries)

    with interruptible(), Progress(Console(stderr=True), quiet=quiet) as progress:
        progress.note(
            f"starts {shlex.join(command)}, sends GET requests to at most {MAX_ROUTES} of its "
            "routes, and asks each server that it connects to what it speaks"
        )
        found = discover(
            command, Path.cwd(), progress, allow, headers=_headers(headers), use=use
        )  # fmt: skip
    if record:
        recording = recorded(entries)
    text = draft(found, recording)
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{output}: {error.strerror}") from None
    variables = recording.variables if recording is not None else []
    load(output, {**dict.fromkeys(variables, "unknown"), **os.environ})
    for line in (
        *(f"observed: {each.removeprefix('observing ')}" for each in found.observed),
        *(f"backend {each.name}: {each.upstream}" for each in found.backends),
        f"routes: {len(found.routes)}",
        *([f"set these variables: {', '.join(variables)}"] if variables else []),
    ):
        click.echo(clean(line))
    todo = text.count("# TO DO: ")
    click.echo(f"{output}: written" + (f"; search it for TO DO ({todo})" if todo else ""))


def _headers(lines: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise click.BadParameter(f"expected NAME:VALUE, got {line!r}", param_hint="--header")
        found[name.strip()] = value.strip()
    return found
