"""An old commit beside this one, in alternation: ``make bench-compare BASE=COMMIT``.

The old commit is checked out and installed in ``build/bench-base``. Each round runs the benchmarks
of both, and each round begins with the other one. Per figure and round there is one ratio, above 1
where the new commit is worse. The table has the median of the ratios and its 95 % interval.

The interval is the sign test's: two of the sorted ratios, so far apart that the true median lies
outside of them in at most 5 % of all cases. It assumes no distribution and draws nothing. Fewer
than six rounds have no such interval.

The exit code is 1 if a figure's interval lies wholly beyond the tolerance, 3 % worse.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.contestants import HAPROXY, NAIVE, PURE, SEISM
from bench.figures import median, sign_interval, table

ROOT = Path(__file__).parent.parent
BASE = ROOT / "build" / "bench-base"
TOLERANCE = 1.03
"""The ratio from which a figure is worse; less is the machine's noise."""
RATES = ("requests/s", "connections/s", "MiB/s")
"""Figures of which more is better; the others are costs."""
QUICK_CASES = ("ping-64", "burst", "down-8")
PARTS = ("import", "send", "request", "throughput")
"""Of ``bench.middleware``; its part ``memory`` has no figures."""
QUICK_PARTS = ("request",)

Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The ratios of one figure, above 1: the new commit is worse."""

    figure: str
    rounds: int
    ratio: float
    low: float
    high: float

    @property
    def worse(self) -> bool:
        """Whether the whole interval is beyond the tolerance."""
        return self.low > TOLERANCE


def rate(figure: str) -> bool:
    """Whether more of it is better."""
    return any(unit in figure for unit in RATES)


def compare(old: Sequence[Figures], new: Sequence[Figures]) -> Iterator[Comparison]:
    """One per figure that a round of both has; the lists are of the same rounds."""
    figures = dict.fromkeys(figure for one in old for figure in one)
    for figure in figures:
        pairs = [
            (before[figure], after[figure])
            for before, after in zip(old, new, strict=True)
            if before.get(figure, 0) > 0 and after.get(figure, 0) > 0
        ]
        ratios = [before / after if rate(figure) else after / before for before, after in pairs]
        if ratios:
            yield Comparison(figure, len(ratios), median(ratios), *sign_interval(ratios))


def of_proxies(document: Mapping[str, Any]) -> Figures:
    """The medians of our own contestants in a ``bench.json``."""
    return {
        f"{case}: {figure}, {name}": median(value for value in values if value is not None)
        for case, figures in document["results"].items()
        for figure, samples in figures.items()
        for name, values in samples.items()
        if name in (SEISM, PURE)
    }


def of_observer(document: Mapping[str, Any]) -> Figures:
    """The medians with the observer in a ``bench-observer.json``."""
    return {name: found["with"]["median"] for name, found in document["results"].items()}


@dataclass(frozen=True)
class Commit:
    """A source tree with the environment that it is installed in."""

    name: str
    tree: Path
    python: Path
    quick: bool

    def measure(self) -> Figures:
        """Both benchmarks, once."""
        folder = self.tree / "build"
        folder.mkdir(exist_ok=True)
        proxies, observer = folder / "compare-bench.json", folder / "compare-observer.json"
        options = ("--rounds", "1", "--seconds", "0.2" if self.quick else "0.5")
        cases = ("--only", ",".join(QUICK_CASES)) if self.quick else ()
        skip = ("--skip", f"{HAPROXY},{NAIVE}")
        self._run("bench.run", *options, *cases, *skip, "--json", str(proxies))
        parts = QUICK_PARTS if self.quick else PARTS
        few = ("--rounds", "3", "--requests", "500") if self.quick else ("--rounds", "5")
        only = tuple(word for part in parts for word in ("--only", part))
        self._run("bench.middleware", *few, *only, "--json", str(observer))
        return of_proxies(_read(proxies)) | of_observer(_read(observer))

    def _run(self, module: str, *options: str) -> None:
        """Raises CalledProcessError after the output is shown."""
        done = subprocess.run(
            [self.python, "-m", module, *options],
            cwd=self.tree,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            print(done.stdout, file=sys.stderr)
            done.check_returncode()


def checked_out(commit: str) -> Path:
    """The folder with ``commit`` and its environment, made or brought up to date."""
    git = ("git", "-C", str(ROOT))
    if not (BASE / ".git").exists():
        subprocess.run([*git, "worktree", "prune"], check=True)
        subprocess.run([*git, "worktree", "add", "--detach", str(BASE), commit], check=True)
    sha = subprocess.run(
        [*git, "rev-parse", f"{commit}^{{commit}}"], check=True, capture_output=True, text=True
    ).stdout.strip()
    subprocess.run(["git", "-C", str(BASE), "checkout", "--quiet", "--detach", sha], check=True)
    subprocess.run(["make", "-C", str(BASE), "VENV=.venv", ".venv/.test"], check=True)
    return BASE


def alternated(old: Commit, new: Commit, rounds: int) -> tuple[list[Figures], list[Figures]]:
    """The figures of both, round by round; the one that begins takes turns."""
    measured: dict[str, list[Figures]] = {old.name: [], new.name: []}
    for turn in range(rounds):
        for commit in (old, new) if turn % 2 == 0 else (new, old):
            print(f"round {turn + 1} of {rounds}: {commit.name}", file=sys.stderr, flush=True)
            measured[commit.name].append(commit.measure())
    return measured[old.name], measured[new.name]


def report(compared: Sequence[Comparison]) -> str:
    """The table, and what is worse."""
    rows = [
        [
            one.figure,
            str(one.rounds),
            f"{one.ratio:.3f}",
            "" if math.isnan(one.low) else f"{one.low:.3f} to {one.high:.3f}",
            "worse" if one.worse else "",
        ]
        for one in compared
    ]
    worse = [one.figure for one in compared if one.worse]
    said = f"{len(worse)} of {len(rows)} figures lie wholly beyond {TOLERANCE - 1:.0%} worse"
    if any(math.isnan(one.low) for one in compared):
        said += "; figures with fewer than 6 rounds have no interval"
    head = ["figure (ratio above 1: worse)", "rounds", "median", "95 % interval", ""]
    return "\n".join([table(head, rows), "", f"{said}.", *(f"- {figure}" for figure in worse)])


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(
        prog="make bench-compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--base", required=True, help="the old commit")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--quick", action="store_true", help="three cases, short measurements")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "bench-compare.json")
    options = parser.parse_args(argv)
    tree = checked_out(options.base)
    old = Commit("old", tree, tree / ".venv" / "bin" / "python", options.quick)
    new = Commit("new", ROOT, Path(sys.executable), options.quick)
    before, after = alternated(old, new, options.rounds)
    options.json.parent.mkdir(exist_ok=True)
    document = {"base": options.base, "old": before, "new": after}
    options.json.write_text(json.dumps(document, indent=1) + "\n")
    compared = list(compare(before, after))
    print(report(compared))
    return int(any(one.worse for one in compared))


def _read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


if __name__ == "__main__":
    sys.exit(main())
