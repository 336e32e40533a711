"""A baseline: the weaknesses that are accepted for now, in a file beside ``seism.toml``.

    [[weakness]]
    fingerprint = "7baccbc5cb0113cd"
    title = "POST /cart answers 500 when cache resets a connection (ConnectionError)"
    colour = "red"
    reason = "a rewrite is under way"
    until = 2027-01-31

Fingerprint and colour count, the rest is for people. What was accepted as amber is not accepted as
red, and after the day in ``until`` it is not accepted at all.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from seism.errors import ConfigurationError
from seism.report.text import clean
from seism.verdict.result import AMBER, GREEN, RED, SEVERITY, Comparison, Judgement
from seism.verdict.weakness import STOPPED, Weakness, weaknesses

NAME = "seism-baseline.toml"
_HEAD = (
    "# Weaknesses that are accepted for now: a run fails for others. seism baseline writes this\n"
    "# file from a report, and keeps each reason and until.\n"
)


@dataclass(frozen=True, slots=True)
class Accepted:
    """One entry."""

    fingerprint: str
    title: str
    colour: str
    reason: str = ""
    until: date | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """Two reports, by the titles of their weaknesses."""

    new: tuple[str, ...]
    gone: tuple[str, ...]
    kept: tuple[str, ...]


def load(path: Path) -> tuple[Accepted, ...]:
    """The entries of a file. Raises ConfigurationError for one that is not as it should be."""
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8")).get("weakness", [])
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: {error}") from None
    if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
        raise ConfigurationError(f"{path}: weakness: expected tables [[weakness]]")
    return tuple(_entry(path, number, each) for number, each in enumerate(entries, 1))


def dump(entries: Iterable[Accepted]) -> str:
    """The file that ``load`` reads."""
    parts = [_HEAD]
    for each in entries:
        lines = ["", "[[weakness]]"]
        for key in ("fingerprint", "title", "colour", "reason"):
            # A JSON string is a TOML string (TOML 1.0, "Basic strings").
            lines.append(f"{key} = {json.dumps(getattr(each, key), ensure_ascii=False)}")
        if each.until is not None:
            lines.append(f"until = {each.until.isoformat()}")
        parts.append("\n".join(lines) + "\n")
    return "".join(parts)


def accept(
    report: Path, before: Iterable[Accepted], reason: str = "", until: date | None = None
) -> tuple[Accepted, ...]:
    """The weaknesses of a ``report.json``; those accepted before keep their reason and day.

    ``reason`` and ``until`` are for the others. A run that was stopped is left out. Raises
    ConfigurationError for a file that is not a report.
    """
    known = {each.fingerprint: each for each in before}
    found = []
    for each in _weaknesses(report):
        if any(line.startswith(STOPPED) for line in each.get("findings", ())):
            continue
        new = Accepted(each["fingerprint"], clean(each["title"], 400), each["colour"])
        old = known.get(new.fingerprint)
        if old is None:
            found.append(replace(new, reason=reason, until=until))
        else:
            found.append(replace(new, reason=old.reason, until=old.until))
    return tuple(found)


def compare(judgement: Judgement, entries: Iterable[Accepted], file: str, today: date) -> Judgement:
    """``judgement``, with what of it is new beside ``entries``."""
    valid = {
        each.fingerprint: each for each in entries if each.until is None or each.until >= today
    }
    found = weaknesses(judgement)
    new: list[Weakness] = []
    accepted: list[Weakness] = []
    for each in found:
        old = valid.get(each.fingerprint)
        worse = old is None or SEVERITY[each.colour] > SEVERITY[old.colour]
        stopped = any(line.startswith(STOPPED) for line in each.findings)
        (new if worse or stopped else accepted).append(each)
    there = {each.fingerprint for each in found}
    gone = [each.title for each in valid.values() if each.fingerprint not in there]
    colour = max((each.colour for each in new), key=SEVERITY.__getitem__, default=GREEN)
    comparison = Comparison(
        file,
        tuple(each.fingerprint for each in new),
        tuple(each.fingerprint for each in accepted),
        tuple(gone),
        colour,
    )
    return replace(judgement, baseline=comparison)


def difference(one: Path, other: Path) -> Difference:
    """What changed between two ``report.json``, or the folders that they are in.

    Raises ConfigurationError for a file that is not a report.
    """
    before = {each["fingerprint"]: each["title"] for each in _weaknesses(one)}
    after = {each["fingerprint"]: each["title"] for each in _weaknesses(other)}
    return Difference(
        tuple(title for key, title in after.items() if key not in before),
        tuple(title for key, title in before.items() if key not in after),
        tuple(title for key, title in after.items() if key in before),
    )


def _weaknesses(path: Path) -> list[dict[str, Any]]:
    file = path / "report.json" if path.is_dir() else path
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        found: list[dict[str, Any]] = document["weaknesses"]
        return [{**each, "colour": each["colour"], "title": str(each["title"])} for each in found]
    except OSError as error:
        raise ConfigurationError(f"{file}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise ConfigurationError(
            f"{file}: not a report.json with weaknesses; seism report JOURNAL writes one"
        ) from None


def _entry(path: Path, number: int, values: Mapping[str, Any]) -> Accepted:
    where = f"{path}: weakness {number}"
    unknown = values.keys() - {"fingerprint", "title", "colour", "reason", "until"}
    if unknown:
        raise ConfigurationError(f"{where}: unknown key {min(unknown)!r}")
    fingerprint, until = values.get("fingerprint"), values.get("until")
    if not isinstance(fingerprint, str) or not fingerprint:
        raise ConfigurationError(f"{where}: fingerprint: expected a string")
    colour = values.get("colour", RED)
    if colour not in (AMBER, RED):
        raise ConfigurationError(f"{where}: colour: expected amber or red, got {colour!r}")
    if until is not None and type(until) is not date:
        raise ConfigurationError(f"{where}: until: expected a day such as 2027-01-31")
    title, reason = values.get("title", ""), values.get("reason", "")
    return Accepted(fingerprint, str(title), colour, str(reason), until)
