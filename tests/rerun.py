"""``@pytest.mark.rerun(reason="...")``: the only tests that may be run again, and why.

A race is a bug, so a test that failed once has failed. Where a test must stand on something that
neither it nor Seism can decide, the marker says what that is.
"""

from __future__ import annotations

import pytest

RERUNS = 2
SHORTEST_REASON = 20
"""Characters; less explains nothing."""
USAGE = '@pytest.mark.rerun(reason="...")'


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", f"rerun(reason): may fail up to {RERUNS} times, for a reason that is written"
    )


def pytest_itemcollected(item: pytest.Item) -> None:
    """Give a marked test its runs; refuse a marker without a reason, and pytest's own.

    Raises pytest.UsageError.
    """
    if item.get_closest_marker("flaky"):
        raise pytest.UsageError(f"{item.nodeid}: use {USAGE} instead of flaky")
    marker = item.get_closest_marker("rerun")
    if marker is None:
        return
    reason = marker.kwargs.get("reason")
    if marker.args or set(marker.kwargs) != {"reason"} or not isinstance(reason, str):
        raise pytest.UsageError(f"{item.nodeid}: expected {USAGE}")
    if len(reason.strip()) < SHORTEST_REASON:
        raise pytest.UsageError(
            f"{item.nodeid}: {USAGE} needs a reason of at least {SHORTEST_REASON} characters"
        )
    # What hangs is not run again: nothing would stop it the second time.
    item.add_marker(pytest.mark.flaky(reruns=RERUNS, rerun_except="from.pytest-timeout"))
