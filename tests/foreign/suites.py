"""The suites of ``suites.toml`` as data, and the table of what they came to."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SUITES = Path(__file__).with_name("suites.toml")


@dataclass(frozen=True, slots=True)
class Suite:
    """An entry of the registry, which explains its keys."""

    package: str
    version: str
    tests: tuple[str, ...]
    seconds: float
    backends: dict[str, str]
    extras: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()
    ports: dict[str, int] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    setup: tuple[str, ...] = ()
    files: dict[str, str] = field(default_factory=dict)

    @property
    def requirement(self) -> str:
        extras = f"[{','.join(self.extras)}]" if self.extras else ""
        return f"{self.package}{extras}=={self.version}"


def registry(path: Path = SUITES) -> list[Suite]:
    """Every suite."""
    entries = tomllib.loads(path.read_text(encoding="utf-8"))["suite"]
    return [Suite(**entry) for entry in entries]


def table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: one row for each suite that was run."""
    lines = [
        (
            "| suite | tests | of them perturbed | requests saved | perturbations "
            "| red, amber, green | weaknesses | time | commit |"
        ),
        "|---" * 9 + "|",
    ]
    for name, row in rows.items():
        tests, cells = row["tests"], row["cells"]
        lines.append(
            f"| {name} | {tests['all']} | {tests['perturbed']} | {tests['saved']} "
            f"| {row['perturbations']} | {cells['red']}, {cells['amber']}, {cells['green']} "
            f"| {len(row['found'])} | {row['seconds']} s | {row['commit']} |"
        )
    return "\n".join(lines)
