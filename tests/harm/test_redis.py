"""redis-py's asyncio client: 4.5.3 hands a late reply to the next caller (CVE-2023-28858)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from seism.verdict.result import RED, Judgement
from tests.harm.lab import BY_LOOP, LOOPS, PAUSES, Lab, accused, blamed, named, packages, wrong
from tests.servers import Valkey

pytestmark = pytest.mark.timeout(240)

SLOW = 'name = "slow"\ntype = "latency"\nattributes = { latency = 700 }\nstream = "{}"'


@pytest.fixture(scope="module")
def valkey() -> Iterator[str]:
    with Valkey() as server:
        yield f"127.0.0.1:{server.port}"


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {
        version: packages(
            tmp_path_factory.mktemp("packages"), f"redis=={version}", "async-timeout>=4"
        )
        for version in ("4.5.3", "4.5.5")
    }


def run(folder: Path, valkey: str, package: Path, stream: str, loop: str) -> Judgement:
    # A load that goes on reads some of what is late just as the perturbation ends, together with
    # the reply that follows: which of the two an answer is, is not certain then.
    slow = SLOW.replace("{}", stream)
    lab = Lab("redis_app", valkey, slow, LOOPS[loop], (package,), each=PAUSES)
    return lab.judge(folder)


@pytest.mark.parametrize(("stream", "loop"), BY_LOOP)
def test_wrong_data_is_found(
    tmp_path: Path, valkey: str, versions: dict[str, Path], stream: str, loop: str
) -> None:
    judgement = run(tmp_path, valkey, versions["4.5.3"], stream, loop)
    assert judgement.colour == RED
    found = named(judgement, "crosstalk")
    assert found, judgement.harms
    assert {harm.backend for harm in found} == {"store"}
    assert all(harm.connection and harm.requests for harm in found)
    # None is "abandoned" for certain: the load goes on, and reads what was left on its connections.
    truth, said = wrong(tmp_path), accused(judgement)
    assert truth
    assert said - truth == set()
    # uvloop reads what has come in one go: of two replies on a busy machine neither is certain.
    least = 0.7 if loop == "uvloop" else 0.9
    assert len(said) >= least * len(truth), truth - said
    assert all(case.role == "harmed" for case in judgement.cases if case.request in said)


@pytest.mark.parametrize(("stream", "loop"), BY_LOOP)
def test_the_repaired_version_is_not_blamed(
    tmp_path: Path, valkey: str, versions: dict[str, Path], stream: str, loop: str
) -> None:
    judgement = run(tmp_path, valkey, versions["4.5.5"], stream, loop)
    assert blamed(judgement) == []
    assert wrong(tmp_path) == set()
    assert not judgement.never_fired
