"""``seism watch``: the dashboard on a terminal."""

from __future__ import annotations

import contextlib
import os
import queue
import select
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from seism.commands.option import sidecar
from seism.errors import NotFound, SeismError

if TYPE_CHECKING:
    from rich.console import Console

    from seism.client import Client
    from seism.client.events import Feed

TOPICS = ("perturbations", "observations", "attributions", "opinions")
FRAME = 0.25
"""Seconds between two pictures."""
GRACE = 0.5
"""Seconds that a line about a request waits for what hit it."""
ZOOMS = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds of a column."""


@click.command()
@sidecar
def watch(client: Client, as_json: bool) -> None:
    """Show on a terminal what the dashboard shows in a browser, as it happens.

    A lane per route with its requests, a lane per backend with its perturbations, the app's
    figures, and the last requests that were not green with what hit them. Where the output is
    no terminal, or with --json, a line for each perturbation and each request that is not green.

    \b
    Keys:
      space   stand still, go on
      + -     zoom
      k       undo everything: every toxic is removed, every proxy enabled
      q       quit
    """
    from rich.console import Console

    console = Console()
    with client.events(TOPICS, since="start", patience=float("inf")) as feed:
        reader = _Reader(feed)
        reader.start()
        if as_json or not console.is_terminal or console.is_dumb_terminal:
            _lines(reader, as_json)
        else:
            with _keys() as pressed:
                _picture(client, console, reader, pressed)


Sent = tuple[dict[str, Any], str]
"""A record, and the life of the sidecar that sent it."""


class _Reader(threading.Thread):
    """Puts the feed's records into a queue, and what ended it, or None, at last."""

    def __init__(self, feed: Feed) -> None:
        super().__init__(daemon=True)
        self.feed = feed
        self.records: queue.SimpleQueue[Sent | SeismError | None] = queue.SimpleQueue()

    def run(self) -> None:
        try:
            while True:
                record = self.feed.next_values()
                self.records.put((record, self.feed.last_id.partition("-")[0]))
        except StopIteration:
            self.records.put(None)
        except SeismError as error:
            self.records.put(error)

    def take(self, seconds: float) -> Iterator[Sent]:
        """What comes within ``seconds``, at once if there is something. Raises EOFError."""
        try:
            record = self.records.get(timeout=seconds)
            while True:
                if isinstance(record, SeismError):
                    raise record
                if record is None:
                    raise EOFError
                yield record
                record = self.records.get_nowait()
        except queue.Empty:
            return

    @property
    def note(self) -> str:
        if self.feed.lost:
            return "the sidecar was started anew: records may be missing"
        return f"{self.feed.missed:,} records were missed" if self.feed.missed else ""


def _picture(client: Client, console: Console, reader: _Reader, pressed: Callable[[], str]) -> None:
    from rich.live import Live

    from seism.watch.model import Model
    from seism.watch.screen import Screen, View

    model, zoom, still, undone = Model(), 1, None, ""
    newest, at = 0.0, time.monotonic()
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            for key in pressed():
                if key in ("q", "\x04"):
                    return
                if key == " ":
                    still = (newest + time.monotonic() - at) if still is None else None
                elif key in "+=":
                    zoom = max(zoom - 1, 0)
                elif key == "-":
                    zoom = min(zoom + 1, len(ZOOMS) - 1)
                elif key == "k":
                    undone = _undo(client)
            for record, run in reader.take(0):
                model.add(record, run)
            if model.last > newest:
                newest, at = model.last, time.monotonic()
            state = "live" if reader.feed.connected else "the sidecar is away, trying again"
            view = View(
                now=newest + time.monotonic() - at if still is None else still,
                column=ZOOMS[zoom],
                state=state if still is None else "standing still",
                where=f"{client.host}:{client.port}",
                note=undone or reader.note,
            )
            live.update(Screen(model, view), refresh=True)


def _undo(client: Client) -> str:
    try:
        with contextlib.suppress(NotFound):  # it has no standing chaos, which would begin anew
            client.call("DELETE", "/seism/chaos")
        client.reset()
    except SeismError as error:
        return f"not undone: {error}"
    return f"everything was undone at {time.strftime('%H:%M:%S')}"


def _lines(reader: _Reader, as_json: bool) -> None:
    import json

    from seism.watch.model import Model
    from seism.watch.screen import perturbed, told

    model = Model()
    waiting: dict[str, float] = {}
    noted = ""
    while True:
        for record, run in reader.take(GRACE / 2):
            if as_json:
                click.echo(json.dumps(record))
                continue
            model.add(record, run)
            kind = record["kind"]
            if kind.startswith("perturbation.") and (effect := model.named(record)):
                _line(perturbed(effect))
            elif kind == "opinion" and record["colour"] != "green":
                # Its attributions come a little later.
                waiting.setdefault(record["request"], time.monotonic() + GRACE)
        if reader.note != noted:
            noted = reader.note
            click.echo(f"seism: {noted}", err=True)
        due = {each for each, until in waiting.items() if until <= time.monotonic()}
        for request in list(model.bad):
            if request.id in due:
                _line(told(model, request).plain)
        for each in due:
            del waiting[each]


def _line(text: str) -> None:
    click.echo(f"{time.strftime('%H:%M:%S')}  {text}")


@contextlib.contextmanager
def _keys() -> Iterator[Callable[[], str]]:
    """A function that waits a frame's time for keys and gives those that were pressed."""
    import termios
    import tty

    if not sys.stdin.isatty():
        yield _no_keys
        return
    number = sys.stdin.fileno()
    before = termios.tcgetattr(number)
    tty.setcbreak(number)

    def pressed() -> str:
        ready, _, _ = select.select([number], [], [], FRAME)
        return os.read(number, 64).decode("utf-8", "replace") if ready else ""

    try:
        yield pressed
    finally:
        termios.tcsetattr(number, termios.TCSADRAIN, before)


def _no_keys() -> str:
    time.sleep(FRAME)
    return ""
