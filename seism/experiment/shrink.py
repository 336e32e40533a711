"""The fewest perturbations that still break a route, by delta debugging over replays.

Source of the algorithm: A. Zeller, R. Hildebrandt, "Simplifying and Isolating
Failure-Inducing Input", IEEE TSE 28(2), 2002 (ddmin).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from seism.errors import ConfigurationError
from seism.experiment.config import Planned
from seism.verdict.result import RED, Cell, Judgement

T = TypeVar("T")


class Stopped(Exception):
    """A replay was interrupted, or came to one of its limits; the message says which."""


def target(judgement: Judgement, route: str = "") -> Cell:
    """The red cell to shrink for: of ``route`` if given, else the first with an exact hit.

    Raises ConfigurationError if nothing is red.
    """
    red = [cell for cell in judgement.cells if cell.colour == RED and route in ("", cell.route)]
    red.sort(key=lambda cell: not (cell.worst is not None and cell.worst.exact))
    if not red:
        raise ConfigurationError(f"nothing is red{f' for {route}' if route else ''}")
    return red[0]


def suspect(planned: Sequence[Planned], cell: Cell) -> Planned:
    """The perturbation of ``cell``, or the first exact one that it became in the replay.

    Raises ConfigurationError if the replay has none of it.
    """
    names = (cell.perturbation, f"{cell.perturbation}: ")
    for one in planned:
        if one.name == names[0] or one.name.startswith(names[1]):
            return one
    raise ConfigurationError(
        f"{cell.perturbation!r} was a matter of chance and hit no request exactly: "
        "there is nothing to replay"
    )


def breaks(judgement: Judgement, route: str) -> bool:
    """Whether ``route`` is red under anything."""
    return any(cell.route == route and cell.colour == RED for cell in judgement.cells)


def shrink(items: Sequence[T], fails: Callable[[Sequence[T]], bool], suspect: T) -> list[T]:
    """The fewest of ``items`` with which it ``fails``; ``suspect`` alone is tried first.

    One-minimal: leaving out any one of the result does not fail. Raises ConfigurationError
    if it does not fail with all of them.
    """
    if fails([suspect]):
        return [suspect]
    if not fails(items):
        raise ConfigurationError("the replay is not red: what the journal shows is not repeatable")
    return _ddmin(list(items), fails)


def _ddmin(items: list[T], fails: Callable[[Sequence[T]], bool]) -> list[T]:
    parts = 2
    while len(items) >= 2:
        size = -(-len(items) // parts)
        chunks = [items[at : at + size] for at in range(0, len(items), size)]
        rests = [
            [item for other in chunks if other is not chunk for item in other] for chunk in chunks
        ]
        smaller = next((chunk for chunk in chunks if fails(chunk)), None)
        if smaller is not None:
            items, parts = smaller, 2
            continue
        smaller = None
        if parts > 2:
            smaller = next((rest for rest in rests if fails(rest)), None)
        if smaller is not None:
            items, parts = smaller, max(parts - 1, 2)
        elif parts < len(items):
            parts = min(len(items), 2 * parts)
        else:
            break
    return items


def values(planned: Planned) -> dict[str, Any]:
    """What a ``[[perturbation]]`` table says, without defaults."""
    found = {}
    for field in dataclasses.fields(planned):
        value = getattr(planned, field.name)
        if value != ({} if isinstance(value, dict) else field.default):
            found[field.name] = dataclasses.asdict(value) if field.name == "match" else value
    return found


def regression(planned: Sequence[Planned], cell: Cell, seed: int, config: str) -> str:
    """The text of a pytest file that fails as long as ``cell``'s route breaks.

    ``config`` is the path of the experiment's file, relative to the new one.
    """
    why = " ".join((cell.reasons or ("red",))[0].split())
    lines = ",\n".join(f"    {values(each)!r}" for each in planned)
    return f"""\
{f"{cell.route} under {cell.perturbation}: {why}"!r}

from pathlib import Path

from seism.testing import assert_survives

PERTURBATIONS = [
{lines},
]


def test_{slug(cell)}(seism_experiment):
    file = Path(__file__).parent / {config!r}
    judgement = seism_experiment(file, PERTURBATIONS, seed={seed})
    assert_survives(judgement, {cell.route!r})
"""


def slug(cell: Cell) -> str:
    """A name for files and functions."""
    return re.sub(r"\W+", "_", f"{cell.route} under {cell.perturbation}".lower()).strip("_")[:80]


def write(path: Path, text: str) -> None:
    """Raises ConfigurationError if it cannot be written."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from None
