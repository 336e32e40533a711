"""The applications of this folder, as data, and the comparison of a report with what is true.

Each ``NAME.toml`` says how to install one application from the package index, how to initialise
it, how to start it, which lines of the ``seism.toml`` that ``seism init`` writes are edited, and
which true defects it has. Shell commands find ``DB``, ``DB_HOST``, ``DB_PORT``, ``CACHE``,
``CACHE_PORT``, ``PORT`` and others of the servers in their environment. Pure.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
MAX_EDITED = 5
"""Lines of ``seism.toml``."""
BAD = ("red", "amber")


@dataclass(frozen=True, slots=True)
class Edit:
    """One place of ``seism.toml``: a whole line, and the lines that take its place."""

    line: str
    becomes: tuple[str, ...]

    @property
    def edited(self) -> int:
        """Lines that are changed, added or removed."""
        return max(1, len([line for line in self.becomes if line != self.line]))


@dataclass(frozen=True, slots=True)
class Defect:
    """A true defect: routes and perturbations as patterns, and how it shows."""

    route: str
    perturbation: str
    says: str
    """Words of a reason in the cell."""
    colour: tuple[str, ...] = ("red",)
    why: str = ""
    """What happens, and how to see it by hand."""

    def covers(self, cell: Mapping[str, Any]) -> bool:
        """Whether the cell is one of those in which it shows, whatever the cell says."""
        return fnmatchcase(cell["route"], self.route) and fnmatchcase(
            cell["perturbation"], self.perturbation
        )

    def shows_in(self, cell: Mapping[str, Any]) -> bool:
        """Whether the cell says so."""
        said = "; ".join(cell["reasons"])
        return self.covers(cell) and cell["colour"] in self.colour and self.says in said

    def __str__(self) -> str:
        return f"{self.route} under {self.perturbation}: {self.says}"


@dataclass(frozen=True, slots=True)
class Application:
    """One of the applications; see the module."""

    name: str
    title: str
    command: str
    packages: tuple[str, ...] = ()
    npm: tuple[str, ...] = ()
    setup: tuple[str, ...] = ()
    edits: tuple[Edit, ...] = ()
    defects: tuple[Defect, ...] = ()
    headers: tuple[str, ...] = ()
    """What ``seism init --header`` gets."""
    servers: tuple[str, ...] = ()
    """Beside PostgreSQL (``DB``) and Valkey (``CACHE``), which every one has."""
    services: tuple[tuple[str, str], ...] = ()
    """Servers of its own, which are not judged: a variable for the port, and the command."""
    seconds: int = 900
    """The run is ended after this."""
    env: tuple[tuple[str, str], ...] = ()

    @property
    def edited(self) -> int:
        """Lines of ``seism.toml`` that a user edits."""
        return sum(edit.edited for edit in self.edits)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a report says, held against the table of true defects."""

    found: tuple[str, ...]
    missed: tuple[str, ...]
    further: tuple[str, ...]
    """Red cells that no true defect explains."""


def names() -> list[str]:
    """All applications."""
    return sorted(path.stem for path in HERE.glob("*.toml"))


def load(name: str) -> Application:
    """The application ``name``; raises ValueError for a file that is wrong."""
    return parse(name, (HERE / f"{name}.toml").read_text(encoding="utf-8"))


def parse(name: str, text: str) -> Application:
    """The application in ``text``; raises ValueError for what is wrong."""
    values = tomllib.loads(text)
    known = {field.name for field in fields(Application)} - {"name", "edits", "defects"}
    if unknown := set(values) - known - {"edit", "defect"}:
        raise ValueError(f"{name}: unknown keys {sorted(unknown)}")
    edits = tuple(Edit(each["line"], tuple(each["becomes"])) for each in values.pop("edit", ()))
    defects = tuple(each for table in values.pop("defect", ()) for each in _defects(table))
    tables = {key: tuple(values.pop(key, {}).items()) for key in ("env", "services")}
    values = {
        key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
    }
    app = Application(name, **values, **tables, edits=edits, defects=defects)
    if app.edited > MAX_EDITED:
        raise ValueError(f"{name}: {app.edited} edited lines (maximum {MAX_EDITED})")
    return app


def _defects(table: Mapping[str, Any]) -> Iterator[Defect]:
    """One for each of its routes under each of its perturbations."""
    rest = {key: value for key, value in table.items() if key not in ("route", "perturbation")}
    rest["colour"] = tuple(rest.get("colour", ("red",)))
    for route in table["route"]:
        for perturbation in table["perturbation"]:
            yield Defect(route, perturbation, **rest)


def edit(text: str, edits: Sequence[Edit]) -> str:
    """``text`` with each edit made once; raises ValueError if a line is missing."""
    lines = text.splitlines()
    for each in edits:
        if each.line not in lines:
            raise ValueError(f"no line {each.line!r}")
        at = lines.index(each.line)
        lines[at : at + 1] = each.becomes
    return "\n".join(lines) + "\n"


def compare(defects: Sequence[Defect], report: Mapping[str, Any]) -> Comparison:
    """What of ``defects`` the report has found, what it missed, and the red cells beyond."""
    cells = report["cells"]
    found = [each for each in defects if any(each.shows_in(cell) for cell in cells)]
    return Comparison(
        tuple(map(str, found)),
        tuple(str(each) for each in defects if each not in found),
        tuple(_further(defects, cells)),
    )


def _further(defects: Sequence[Defect], cells: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for cell in cells:
        if cell["colour"] == "red" and not any(each.covers(cell) for each in defects):
            yield f"{cell['route']} under {cell['perturbation']}: {cell['reasons'][0]}"


def table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: one row for each application that was run."""
    lines = [
        (
            "| application | true defects found | missed | further red cells | edited lines "
            "| to the file | to the verdict | commit |"
        ),
        "|---" * 8 + "|",
    ]
    for row in rows.values():
        wanted = len(row["found"]) + len(row["missed"])
        missed = "; ".join(row["missed"]).replace("|", "\\|") or "none"
        lines.append(
            f"| {row['title']} | {len(row['found'])} of {wanted} | {missed} | {len(row['further'])}"
            f" | {row['edited']} | {row['init_s']:.0f} s | {row['run_s']:.0f} s | {row['commit']} |"
        )
    return "\n".join(lines)
