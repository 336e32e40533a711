"""What was planted in an example app, held against what was found."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from seism.errors import ConfigurationError
from seism.options import build, option
from seism.verdict.result import AMBER, RED, Judgement


@dataclass(frozen=True, slots=True)
class Weakness:
    """``[[weakness]]`` of planted.toml."""

    route: str = option(help="METHOD /pattern")
    perturbation: str = option(help="name of the perturbation that brings it out")
    colour: str = option(help="the verdict that it deserves", choices=(AMBER, RED))
    kind: str = option(help="what kind of weakness it is, in a word or two")
    what: str = option(help="what is wrong, in one sentence")
    found_by: str = option(
        "demo", help="demo: the demo's load requests it; sweep: only that of sweep.toml does",
        choices=("demo", "sweep"),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Planted:
    """The whole file."""

    weakness: tuple[Weakness, ...] = option(help="what was planted")


@dataclass(frozen=True, slots=True)
class Comparison:
    """Whether the verdicts are exactly what was planted."""

    found: tuple[Weakness, ...]
    missed: tuple[str, ...]
    """One line for each weakness that was not found."""
    blamed: tuple[str, ...]
    """One line for each verdict that no planted weakness explains."""

    @property
    def exact(self) -> bool:
        return not self.missed and not self.blamed


def load(path: Path) -> Planted:
    """Read planted.toml. Raises ConfigurationError."""
    try:
        with path.open("rb") as file:
            return build(Planted, tomllib.load(file), f"{path}:")
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigurationError(f"{path}: {error}") from None


def compare(planted: Planted, judgement: Judgement, *, swept: bool = False) -> Comparison:
    """Hold the verdicts of a run of the demo, or of a sweep, against what was planted for it.

    A sweep brings a weakness out in many ways, so that it explains whatever its route does.
    """
    found, missed = [], []
    explained = set()
    weaknesses = [each for each in planted.weakness if swept or each.found_by == "demo"]
    for weakness in weaknesses:
        cell = judgement.cell(weakness.route, weakness.perturbation)
        explained.add((weakness.route, weakness.perturbation))
        if cell is not None and cell.colour == weakness.colour:
            found.append(weakness)
            continue
        got = f"the verdict is {cell.colour}" if cell else "there is no such cell"
        missed.append(
            f"{weakness.route} under {weakness.perturbation}: {weakness.what} "
            f"({weakness.colour} was planted, {got})"
        )
    routes = {weakness.route for weakness in weaknesses} if swept else set()
    blamed = [
        f"{cell.route} under {cell.perturbation}: {cell.colour}, {'; '.join(cell.reasons)}"
        for cell in judgement.cells
        if cell.colour in (AMBER, RED)
        and (cell.route, cell.perturbation) not in explained
        and cell.route not in routes
    ]
    explained_by = {perturbation for _, perturbation in explained}
    harms = [
        f"{harm.perturbation}: {harm.kind}, {harm.what}"
        for harm in judgement.harms
        if harm.colour in (AMBER, RED) and harm.perturbation not in explained_by
    ]
    more = [
        line for line in (*harms, *judgement.findings)
        if not any(f": {route}: " in line for route in routes)
    ]  # fmt: skip
    return Comparison(tuple(found), tuple(missed), (*blamed, *more))
