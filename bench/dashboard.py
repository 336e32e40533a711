"""The page with 100,000 requests and 1,000 perturbations, in Chromium: ``make bench-dashboard``.

First picture, the longest task of a zoom and of a drag, memory. Nothing here passes or fails.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from bench.figures import table
from bench.run import machine
from seism.dashboard.standalone import render
from seism.journal import SCHEMA, Entry, Manifest
from seism.verdict.result import Judgement, Steady
from seism_middleware.contract import (
    Attribution,
    LoggedError,
    PerturbationBegan,
    PerturbationEnded,
    RequestEnded,
)
from tests.browser import browser

SECONDS = 600.0
WANTED = {
    "first picture, ms": 2000, "longest task of a zoom, ms": 100, "longest task of a drag, ms": 100,
    "JavaScript heap, MB": 300, "process of the page, MB": 300,
}  # fmt: skip

_FIRST = """() => new Promise((done) => {
  const drawn = () => globalThis.Seism?.page?.timeline.marks;
  const look = () => drawn() ? done(performance.now()) : requestAnimationFrame(look);
  look();
})"""
_TASKS = """() => {
  globalThis.tasks = [];
  new PerformanceObserver((list) => { for (const e of list.getEntries()) tasks.push(e.duration); })
    .observe({ entryTypes: ["longtask"] });
}"""


def records(requests: int, perturbations: int) -> Iterator[Any]:
    """A run of ten minutes: 12 routes, 4 backends."""
    rng = random.Random(1)
    events: list[tuple[float, int, Any]] = []
    for number in range(perturbations):
        at, proxy = rng.uniform(0, SECONDS), rng.choice(("db", "cache", "ldap", "mail"))
        began = PerturbationBegan(
            f"p{number}", proxy, "t", rng.choice(("latency", "reset_peer", "timeout")), at,
            stream="upstream", client=f"127.0.0.1:{rng.randint(1024, 65535)}", offset=number,
        )  # fmt: skip
        events.append((at, 0, began))
        end = at + rng.expovariate(1)
        events.append((end, 0, PerturbationEnded(f"p{number}", end, "passed")))
    for number in range(requests):
        at, status = rng.uniform(0, SECONDS), rng.choices((200, 503, 500), (95, 4, 1))[0]
        duration = rng.lognormvariate(-4, 1)
        errors = () if status == 200 else (LoggedError("app", "app:1", "failed"),)
        ended = RequestEnded(
            f"w-{number}", "GET", f"/route/{rng.randrange(12)}", at, duration, status, "complete",
            retry_after=True, errors=errors, rss=90_000_000 + number * 100, connections=8,
            cpu=duration / 4,
        )  # fmt: skip
        events.append((at + duration, 1, ended))
        if status != 200:
            hit = f"p{rng.randrange(perturbations)}"
            events.append((at + duration, 2, Attribution(hit, ended.request, "ledger", True)))
    events.sort(key=lambda event: event[:2])
    return (record for _, _, record in events)


def measure(report: Path) -> dict[str, float]:
    """One visit."""
    with browser() as chromium:
        page = chromium.new_page(viewport={"width": 1400, "height": 900})
        page.goto(report.as_uri(), wait_until="commit")
        figures = {"first picture, ms": page.evaluate(_FIRST)}
        page.wait_for_timeout(1000)
        box = page.locator("#canvas").bounding_box()
        assert box is not None
        x, y = box["x"] + box["width"] * 0.6, box["y"] + 40
        page.mouse.move(x, y)
        for name, act in (("zoom", _zoom), ("drag", _drag)):
            page.evaluate(_TASKS)
            act(page, x, y)
            page.wait_for_timeout(700)
            # Shorter tasks than 50 ms are not reported.
            figures[f"longest task of a {name}, ms"] = page.evaluate("Math.max(50, ...tasks)")
        session = page.context.new_cdp_session(page)
        session.send("Performance.enable")
        metrics = {
            each["name"]: each["value"]
            for each in session.send("Performance.getMetrics")["metrics"]
        }
        figures["JavaScript heap, MB"] = metrics["JSHeapUsedSize"] / 1e6
        figures["process of the page, MB"] = _renderer() / 1e6
    return figures


def _renderer() -> int:
    """Bytes that only the largest process has that draws a page."""
    return max(
        child.memory_full_info().uss
        for child in psutil.Process().children(recursive=True)
        if "--type=renderer" in child.cmdline()
    )


def _zoom(page: Any, x: float, y: float) -> None:
    for turn in range(24):
        page.mouse.wheel(0, -120 if turn < 12 else 120)
        page.wait_for_timeout(40)


def _drag(page: Any, x: float, y: float) -> None:
    page.mouse.down()
    for step in range(24):
        page.mouse.move(x + 12 * step, y)
        page.wait_for_timeout(20)
    page.mouse.up()


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.dashboard", description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--perturbations", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, default=Path("bench-dashboard.json"))
    options = parser.parse_args(argv)
    manifest = Manifest(SCHEMA, "bench", 1, "bench", "")
    entries = [Entry(1, 0.0, "", None, manifest)]
    entries += [
        Entry(number, 0.0, "", None, record)
        for number, record in enumerate(records(options.requests, options.perturbations), 2)
    ]
    judgement = Judgement(1, (), "red", Steady(True, "", 0), (), (), cells=(), cases=())
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "timeline.html"
        report.write_text(render(entries, judgement))
        rounds = [measure(report) for _ in range(options.rounds)]
    about = machine()
    print(
        f"{about['date']}, {about['processor']}, {about['cores']} cores, load {about['load']}: "
        f"{options.requests:,} requests, {options.perturbations:,} perturbations, median of "
        f"{options.rounds}.\n"
    )
    rows = [
        [name, f"{statistics.median(each[name] for each in rounds):.0f}", f"under {limit}"]
        for name, limit in WANTED.items()
    ]
    print(table(["", "measured", "wanted"], rows))
    options.json.write_text(json.dumps({"machine": about, "rounds": rounds}, indent=1) + "\n")


if __name__ == "__main__":
    main()
