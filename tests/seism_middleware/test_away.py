"""A sidecar that is stopped, slow, killed or restarted costs no request its time.

``make bench-away`` measures the same with more requests, and holds it to a millisecond.
"""

from __future__ import annotations

from pathlib import Path

from bench.away import lines, measure
from tests.timing import within


def test_stopped_slow_killed_and_restarted(tmp_path: Path) -> None:
    found = measure(tmp_path, 2000)
    print(*lines(found), sep="\n")
    assert len(found.rows) == 8
    assert [row.state for row in found.rows if not within(max(0.0, row.added), 0.0)] == []
    assert found.dropped >= found.counted > 0
    assert (found.unexplained, found.twice) == (0, 0)
