"""Consumers that end by an exception while a backend restarts, and those that survive it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harm.lab import Lab, blamed
from tests.servers import Valkey

pytestmark = pytest.mark.timeout(120)

RESTART = 'name = "store restart"\ntype = "restart"'
LOAD = "workers = 2\nsteady = 10\nduring = 5\nafter = 10\npause_ms = 20"


@pytest.fixture(scope="module")
def valkey() -> Iterator[str]:
    with Valkey() as server:
        yield f"127.0.0.1:{server.port}"


@pytest.mark.parametrize(
    ("mode", "what"),
    [("dies", "thread consumer_app.consume"), ("forgotten", "task consumer_app.read")],
)
def test_one_that_ends_is_named(tmp_path: Path, valkey: str, mode: str, what: str) -> None:
    lab = Lab("consumer_app", valkey, RESTART, env={"MODE": mode}, load=LOAD, routes=("/",))
    judgement = lab.judge(tmp_path)
    (harm,) = [harm for harm in judgement.harms if harm.kind == "ended"]
    assert (harm.colour, harm.perturbation) == ("red", "store restart")
    assert f"ended the {what} of worker" in harm.what
    assert "nothing has taken its place" in harm.what
    assert harm.backend == "store"
    # Up to Python 3.11 asyncio.wait_for() has each command written by a task of its own.
    assert mode == "forgotten" or (harm.exact and harm.hit_by)


@pytest.mark.parametrize("mode", ["retries", "replaced"])
def test_one_that_survives_is_not_blamed(tmp_path: Path, valkey: str, mode: str) -> None:
    lab = Lab("consumer_app", valkey, RESTART, env={"MODE": mode}, load=LOAD, routes=("/",))
    judgement = lab.judge(tmp_path)
    assert blamed(judgement) == []
    found = [harm.what for harm in judgement.harms if harm.kind == "ended"]
    assert len(found) == (mode == "replaced")
