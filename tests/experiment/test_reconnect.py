"""Clients whose reconnect is accepted and closed: those that finish it, and those that never do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.test_cli import Seism, cache, seism

__all__ = ["cache", "seism"]

MORE = """\
[rules]
recover_s = 1.5
error_log = false
[sweep]
repeat = 1
after = 4
pairs = 0
[[sweep.toxic]]
name = "hung up"
type = "accept_close"
"""


@pytest.mark.parametrize(("how", "colour"), [("released", "green"), ("kept", "red")])
def test_a_failed_reconnect_must_not_be_the_last(
    seism: Seism, tmp_path: Path, how: str, colour: str
) -> None:
    changes = {
        "small_app": "reconnect_app",
        "/idle": "/",
        "env = {": f'env = {{ RECONNECT = "{how}",',
    }
    seism.experiment("/", more=MORE, **changes)
    done = seism.run("sweep")
    report = json.loads((tmp_path / "seism-report" / "report.json").read_text())
    assert report["matrix"] == {"GET /": {"cache hung up": colour}}, done.err + done.out
    (cell,) = report["cells"]
    # Whoever waits for the lock does not connect.
    assert how == "kept" or cell["exact"] > 0


def test_the_exchanges_of_an_app_whose_threads_have_a_connection_each(
    seism: Seism, tmp_path: Path
) -> None:
    """What a thread sends on its first connection does not belong to its request."""
    more = MORE.replace("hung up", "reset").replace("accept_close", "reset_peer")
    changes = {
        "small_app": "thread_app",
        "/idle": "/",
        'upstream = "${CACHE}"': 'upstream = "${CACHE}"\nprotocol = "redis"',
    }
    seism.experiment("/", more=more, **changes)
    done = seism.run("sweep")
    report = json.loads((tmp_path / "seism-report" / "report.json").read_text())
    (columns,) = report["matrix"].values()
    assert columns == {"cache reset #1 (GET, 1 argument)": "green"}, done.err + done.out
