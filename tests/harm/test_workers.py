"""Workers that die under gunicorn, which starts others in their place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from seism.verdict.result import RED, Judgement
from tests.harm.lab import Lab, blamed, named, packages
from tests.servers import Valkey

pytestmark = pytest.mark.timeout(240)

GUNICORN = ("-m", "gunicorn", "--bind=127.0.0.1:{port}", "--workers=2", "--timeout=1")
LOAD = "workers = 2\nsteady = 10\nduring = 2\nafter = 10\npause_ms = 10\ntimeout_s = 10"
SLOW = 'name = "slow"\ntype = "latency"\nattributes = { latency = 20000 }'


@pytest.fixture(scope="module")
def valkey() -> Iterator[str]:
    with Valkey() as server:
        yield f"127.0.0.1:{server.port}"


@pytest.fixture(scope="module")
def gunicorn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packages(tmp_path_factory.mktemp("gunicorn"), "gunicorn>=22", "packaging>=23")


def run(folder: Path, valkey: str, gunicorn: Path, mode: str) -> Judgement:
    lab = Lab("worker_app", valkey, SLOW, GUNICORN, (gunicorn,), {"MODE": mode}, LOAD, ("/item/1",))
    return lab.judge(folder)


@pytest.mark.parametrize(("mode", "words"), [("patient", "timed out"), ("crash", "died while")])
def test_a_worker_that_died_is_named(
    tmp_path: Path, valkey: str, gunicorn: Path, mode: str, words: str
) -> None:
    judgement = run(tmp_path, valkey, gunicorn, mode)
    assert judgement.colour == RED
    found = named(judgement, "died")
    assert found
    for harm in found:
        assert words in harm.what
        assert harm.requests and harm.worker
        assert harm.requests[0].startswith(harm.worker)
    # Though a worker's first request may reach the cache before the worker knows the proxies.
    assert [harm.what for harm in found if not harm.hit_by] == []


def test_workers_that_live_are_not_blamed(tmp_path: Path, valkey: str, gunicorn: Path) -> None:
    assert blamed(run(tmp_path, valkey, gunicorn, "well")) == []
