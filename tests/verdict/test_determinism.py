"""The judgement depends on the journal alone, not on how a process hashes its strings."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from seism.journal import Journal
from seism.verdict.result import RED
from seism_middleware.contract import Clock as WireClock
from seism_middleware.contract import Hello, PerturbationBegan, SendCount
from tests.story import Story

JUDGE = """
import pathlib, sys
from seism.journal import read
from seism.registry import load_reports
from seism.verdict.judgement import judge
judgement = judge(read(pathlib.Path(sys.argv[1])))
for render in load_reports().reports.values():
    print(render(judgement, False))
"""
BACKENDS = ("db", "cache", "search", "queue")


def storms() -> Story:
    """A pair, and a request that storms both of its backends."""
    story = Story(("both", "db", "latency"))
    story.plan[0]["partner"] = {"backend": "cache", "type": "latency", "toxic": "second"}
    story.phase("steady")
    story.requests(10, sends=tuple(SendCount(each, "a:1", 1, 8) for each in BACKENDS))
    story.phase("during", 0)
    many = tuple(SendCount(each, f"a:{n}", 1, 8) for each in BACKENDS for n in range(30))
    hit = story.request(sends=many)
    story.perturb(0, hit)
    story.add(PerturbationBegan("second", "cache", "second", "latency", story.now, client="a:9"))
    story.phase("after", 0)
    story.requests(10)
    return story


def failures() -> Story:
    """Four backends, each of which breaks four routes."""
    story = Story(*((f"{each} down", each, "down") for each in BACKENDS))
    story.add(Hello("w", 1, WireClock("c", 0), "asgi", blind=("uvloop", "ldap", "gevent")))
    story.phase("steady")
    for route in BACKENDS:
        story.requests(5, f"GET /{route}")
    for step in range(len(BACKENDS)):
        story.phase("during", step)
        story.perturb(step, *(story.request(f"GET /{route}", 500) for route in BACKENDS))
        story.census(*((f"p{n}", f"w-{n}") for n in range(1, 30)))
        story.phase("after", step)
        for route in BACKENDS:
            story.requests(8, f"GET /{route}")
        story.census(*((f"p{n}", f"w-{n}") for n in range(1, 30)))
    return story


def unsteady() -> Story:
    """Many kinds of failure, each as often as the others."""
    story = Story(("db down", "db", "down"))
    story.phase("steady")
    for route in BACKENDS:
        story.requests(5, f"GET /{route}", 500)
    return story


@pytest.mark.parametrize("tell", [storms, failures, unsteady])
def test_equal_journals_give_equal_reports(tell: Callable[[], Story], tmp_path: Path) -> None:
    entries = tell().end()
    path = tmp_path / "journal.jsonl"
    journal = Journal(path, entries[0].record, lambda: 0.0)
    for entry in entries[1:]:
        journal.write(entry.record, entry.worker)
    journal.close()
    said = {
        subprocess.run(
            [sys.executable, "-c", JUDGE, str(path)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(said) == 1
    (text,) = said
    assert len(text) > 1000 and (tell is unsteady or RED in text)
