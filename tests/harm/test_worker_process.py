"""``[[worker]]``: a process beside the app that only consumes, judged like it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from seism.verdict.result import GREEN, RED
from tests.harm.lab import Lab
from tests.servers import Valkey

pytestmark = pytest.mark.timeout(120)

STEPS = """\
name = "restart"
type = "restart"
[[perturbation]]
backend = "store"
name = "down"
type = "down"
"""
LOAD = "workers = 1\nsteady = 10\nduring = 5\nafter = 5\npause_ms = 20"


@pytest.fixture(scope="module")
def valkey() -> Iterator[str]:
    with Valkey() as server:
        yield f"127.0.0.1:{server.port}"


@pytest.mark.parametrize("sick", [True, False])
def test_a_worker(tmp_path: Path, valkey: str, sick: bool) -> None:
    lab = Lab(
        "consumer_app",
        valkey,
        STEPS,
        env={"MODE": "retries", "SICK": "1" if sick else ""},
        load=LOAD,
        routes=("/",),
        rules="background_recover_s = 3",
        protocol="redis",
        worker="jobs_worker",
    )
    judgement = lab.judge(tmp_path)
    assert judgement.steady.met, judgement.steady.reason
    row = judgement.matrix["consumer BRPOP on store"]
    assert row == dict.fromkeys(("restart", "down"), RED if sick else GREEN)
    died = [harm for harm in judgement.harms if harm.kind == "died"]
    # The order of the perturbations is the seed's.
    assert {harm.perturbation for harm in died} == ({"restart", "down"} if sick else set())
    assert all(harm.what.startswith("the worker jobs ended with exit code 1") for harm in died)
