"""Jobs of Celery and of RQ: what fails for good is red, what is run again is green."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from celery.signals import task_postrun, task_prerun
from rq.worker import Worker

from seism.report.diagnosis import diagnoses
from seism.verdict.result import FAILED_JOB, GREEN, RED
from seism_middleware import celery, rq
from seism_middleware.jobs import job
from seism_middleware.traffic import current
from tests.harm.lab import Lab
from tests.servers import Valkey

LOAD = "workers = 2\nsteady = 10\nduring = 5\nafter = 5\npause_ms = 10"
# A job begins when its worker comes to it: down for a second, not for five requests.
DOWN = 'name = "down"\ntype = "down"\nlasting = 1.0\nunit = "seconds"'
APPS = {"shop.mail": ("celery_app", "celery_app"), "rq_app.mail": ("rq_app", "rq_jobs")}
"""The job's name -> the modules of the web app and of the worker."""


@pytest.fixture(scope="module")
def valkeys() -> Iterator[tuple[Valkey, Valkey]]:
    """The store of the jobs, and the queue."""
    with Valkey() as store, Valkey() as broker:
        yield store, broker


@pytest.mark.timeout(150)
@pytest.mark.parametrize("sick", [True, False])
@pytest.mark.parametrize("name", APPS)
def test_a_job_under_a_store_that_is_down(
    tmp_path: Path, valkeys: tuple[Valkey, Valkey], name: str, sick: bool
) -> None:
    store, broker = valkeys
    database = 2 * list(APPS).index(name) + sick  # no run finds another's jobs
    module, worker = APPS[name]
    lab = Lab(
        module,
        f"127.0.0.1:{store.port}",
        DOWN,
        env={
            "BROKER": f"redis://127.0.0.1:{broker.port}/{database}",
            "SICK": "1" if sick else "",
        },
        load=LOAD,
        routes=("/order",),
        worker=worker,
        inject=module == "rq_app",
    )
    judgement = lab.judge(tmp_path)
    assert judgement.steady.met, judgement.steady.reason
    cell = next(cell for cell in judgement.cells if cell.route == f"JOB {name}")
    assert cell.colour == (RED if sick else GREEN), cell.reasons
    assert {case.kind for case in judgement.cases if case.colour == RED} == (
        {FAILED_JOB} if sick else set()
    )
    assert cell.exact > 0
    if sick:
        (diagnosis,) = diagnoses(replace(judgement, replay="seism replay it"))
        assert diagnosis.weakness.title.startswith(f"JOB {name} fails for good when store is down")
        assert diagnosis.again == "seism replay it --only down"


def test_what_is_observed_is_released() -> None:
    signals = (task_prerun, task_postrun)
    before = [len(each.receivers or ()) for each in signals]
    methods = [getattr(Worker, name) for name in rq.PATCHES]
    for adapter in (celery, rq, celery, rq):
        adapter.observe()
    assert [len(each.receivers or ()) for each in signals] == [count + 1 for count in before]
    assert all(
        getattr(Worker, name) is not old for name, old in zip(rq.PATCHES, methods, strict=True)
    )
    for adapter in (celery, rq):
        adapter.release()
    assert [len(each.receivers or ()) for each in signals] == before
    assert [getattr(Worker, name) for name in rq.PATCHES] == methods


def test_without_a_sidecar_a_job_runs_as_it_would(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEISM_SIDECAR", raising=False)
    with job("mail"):
        assert current.get() is None
    with pytest.raises(ValueError, match="own"), job("mail"):
        raise ValueError("its own")
