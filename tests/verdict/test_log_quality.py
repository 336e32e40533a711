"""What the log lacks is said once for each route, however many perturbations show it."""

from __future__ import annotations

from collections.abc import Iterator

from seism.verdict.log_quality import LogMiss, found, lines
from tests.verdict.test_request import ended


def misses(*steps: str) -> Iterator[LogMiss]:
    for step in steps:
        failed = (ended(500) for _ in range(2))
        yield from found(failed, "db", step)


def test_one_line_for_a_route() -> None:
    assert list(lines(misses("db down"))) == [
        "GET /x: 2 failures without an error in the log, under db down"
    ]
    # A sweep's perturbations have the route in their names.
    assert list(lines(misses("a: GET /x", "b: GET /x", "c", "d"))) == [
        "GET /x: 8 failures without an error in the log, under a, b, c and 1 more"
    ]
