"""The verdict on perturbations of connections that a pool keeps."""

from __future__ import annotations

from seism.verdict.judgement import judge
from seism.verdict.result import GREEN, NO_PARKED, NOT_COVERED
from seism_middleware.contract import SendCount
from tests.story import Story


def story() -> Story:
    made = Story(("db restart", "db", "restart"))
    made.phase("steady")
    made.requests(4)
    made.phase("during", 0)
    return made


def test_an_app_that_keeps_no_connections_has_nothing_to_perturb() -> None:
    told = story()
    told.request(sends=(SendCount("db", "127.0.0.1:9", 1, 9),))
    told.phase("after", 0)
    told.requests(4)
    judgement = judge(told.end())
    (cell,) = judgement.cells
    assert (cell.colour, cell.reasons, cell.exact) == (NOT_COVERED, (NO_PARKED,), 0)
    assert not judgement.never_fired


def test_the_first_request_on_a_new_connection_has_met_the_restart() -> None:
    told = story()
    told.perturb(0)
    for _ in range(2):
        told.request(sends=(SendCount("db", "127.0.0.1:9", 1, 9),))
    told.phase("after", 0)
    told.requests(4)
    (cell,) = judge(told.end()).cells
    assert (cell.colour, cell.exact) == (GREEN, 1)
