"""The structure of the house, computed from its imports: ``make structure``.

A file is a node, an import an arrow from the file that imports to the file that it takes from.
A room is a file at the top level of ``seism``, or a folder there; ``seism_middleware`` and
``bench`` are rooms too. A package's ``__init__`` at the top holds a version, and is not a room.
"""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
TOPS = ("seism", "seism_middleware", "bench")
CRUMB = 80
"""Lines: a file below is a question."""

JUDGING = (
    "journal",
    "verdict.result",
    "verdict.rules",
    "verdict.client_view",
    "verdict.alone",
    "verdict.failed_connect",
    "verdict.timeline",
    "verdict.step",
    "verdict.consumer",
    "verdict.log_quality",
    "verdict.wrong_reply",
    "verdict.request",
    "verdict.patience",
    "verdict.steady_state",
    "verdict.pool",
    "verdict.death",
    "verdict.background",
    "verdict.retry_storm",
    "verdict.significance",
    "verdict.recovery",
    "verdict.own_rate",
    "verdict.stale",
    "verdict.collateral",
    "verdict.detector",
    "verdict.odd_answer",
    "verdict.content",
    "verdict.hidden_exception",
    "verdict.unused_backend",
    "verdict.health_check",
    "verdict.work",
    "verdict.detectors",
    "verdict.accounting",
    "verdict.cell",
    "verdict.whole_run",
    "verdict.conservation",
    "verdict.judgement",
    "verdict.weakness",
)
"""The way of an entry of the journal to the judgement, in the order in which data flows."""

RELAYING = (
    "proxy.proxy",
    "proxy.listener",
    "proxy.upgrade",
    "proxy.tls",
    "proxy.front",
    "proxy.connection",
    "proxy.dial",
    "proxy.link",
    "proxy.conversation",
    "proxy.pending",
    "proxy.chain",
    "proxy.outlet",
    "proxy.pump",
)
"""The way of a byte through an armed link, from the socket that accepts to the one that sends.

Here the one that hands on imports the one that it hands to, so the flow is read the other way
round: an outlet knows of no chain, a chain of no conversation. What must go back, such as "there
is room again", goes through a ``Protocol`` of the one that says it.
"""

Arrows = frozenset[tuple[str, str]]
"""(module that imports, module that it takes from)."""


@dataclass(frozen=True, slots=True)
class House:
    """The measured structure of a checkout."""

    sources: Mapping[str, str]
    """Dotted name -> source."""
    arrows: Arrows

    @property
    def rooms(self) -> set[str]:
        return {room(name) for name in self.sources} - {"seism"}

    @property
    def room_arrows(self) -> Arrows:
        pairs = {(room(one), room(other)) for one, other in self.arrows}
        return frozenset((a, b) for a, b in pairs if a != b and "seism" not in (a, b))


def room(module: str) -> str:
    parts = module.split(".")
    return ".".join(parts[:2] if parts[0] == "seism" else parts[:1])


def read(root: Path = ROOT) -> House:
    """The house below ``root``, which need not be a git checkout. Templates are left out."""
    sources = {}
    for top in TOPS:
        for path in sorted((root / top).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            if "templates" not in parts:
                sources[".".join(parts).removesuffix(".__init__")] = path.read_text("utf-8")
    return House(sources, frozenset(_arrows(sources)))


def _arrows(sources: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    for name, source in sources.items():
        for node in ast.walk(ast.parse(source)):
            for taken in _taken(node, sources):
                if taken != name:
                    yield name, taken


def _taken(node: ast.AST, sources: Mapping[str, str]) -> Iterable[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in sources)
    elif isinstance(node, ast.ImportFrom) and not node.level:
        for alias in node.names:
            full = f"{node.module}.{alias.name}"
            if full in sources:
                yield full
            elif node.module in sources:
                yield node.module


def circles(arrows: Arrows) -> list[list[str]]:
    """The sets of modules that import each other, directly or not (Tarjan's components)."""
    follow: dict[str, list[str]] = defaultdict(list)
    for one, other in sorted(arrows):
        follow[one].append(other)
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in follow[node]:
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            component = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(component) > 1:
                found.append(sorted(component))

    for node in sorted(follow):
        if node not in index:
            visit(node)
    return sorted(found)


def climbs(arrows: Arrows, way: Sequence[str]) -> list[tuple[str, str]]:
    """The arrows between modules of ``way`` that point against the flow."""
    place = {f"seism.{name}": row for row, name in enumerate(way)}
    return sorted(
        (one, other)
        for one, other in arrows
        if one in place and other in place and place[other] > place[one]
    )


def repeated(house: House) -> tuple[dict[str, int], dict[str, int]]:
    """Names of classes, and of files, that occur more than once -> how often."""
    classes = Counter(
        node.name
        for source in house.sources.values()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    files = Counter(name.rpartition(".")[2] for name in house.sources)
    return (
        {name: count for name, count in sorted(classes.items()) if count > 1},
        {name: count for name, count in sorted(files.items()) if count > 1},
    )


def main() -> None:
    house = read()
    found = circles(house.arrows)
    crumbs = {
        name: lines
        for name, source in house.sources.items()
        if 1 < (lines := source.count("\n")) < CRUMB
    }
    ways = {
        "journal to judgement": climbs(house.arrows, JUDGING),
        "through a link": climbs(house.arrows, RELAYING[::-1]),
    }
    classes, files = repeated(house)
    print(f"rooms                       {len(house.rooms)}")
    print(f"arrows between rooms        {len(house.room_arrows)}")
    print(f"files                       {len(house.sources)}")
    print(f"arrows between files        {len(house.arrows)}")
    print(f"circles                     {len(found)}")
    for component in found:
        print("   ", ", ".join(component))
    for way, up in ways.items():
        print(f"climbs, {way:20} {len(up)}")
        for one, other in up:
            print(f"    {one} <- {other}")
    print(f"files under {CRUMB} lines        {len(crumbs)}")
    for title, names in (("class names", classes), ("file names", files)):
        print(f"{title} that occur twice  {len(names)}")
        print("   ", ", ".join(f"{name} ({count})" for name, count in names.items()))


if __name__ == "__main__":
    main()
