"""What a sweep would try, what it leaves out, and what becomes of what it found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from seism.errors import ConfigurationError, NotReady
from seism.experiment.config import SWEPT, Experiment, SweptToxic
from seism.experiment.point import LOOP, NO_USE, OFF, UNFIT, Learnt, learnt_of, points
from seism.experiment.sweep import STOPPED, found_before, swept
from seism.options import build
from seism.protocols.fault import Fault
from seism.proxy.expression import expression
from seism.registry import load
from seism.toxics.base import Toxic
from seism.verdict.judgement import judge
from seism.verdict.result import GREEN, NEVER, NOT_COVERED, RED, Cell
from seism.verdict.timeline import build as timeline_of
from seism_middleware.contract import SendCount
from tests.story import Story

SLOW, DOWN = SweptToxic("slow", "latency"), SweptToxic("down", "down")
FRONT = Learnt("GET /", "GET /", {"cache": 1, "db": 2})
ITEM = Learnt("GET /items/7", "GET /items/{id}", {"db": 1})
OTHER = Learnt("GET /items/8", "GET /items/{id}", {"db": 1})


def test_what_is_learnt_from_requests_that_nothing_perturbs() -> None:
    story = Story()
    story.phase("steady")
    for sends in (1, 2):
        on = [SendCount("db", "a", sends, 9), SendCount("db", "b", 1, 9), SendCount("x", "c", 1, 9)]
        story.request("GET /items/{id}", sends=tuple(on))
    story.requests(2)
    timeline = timeline_of(story.end())
    assert learnt_of(timeline, ["GET /items/7", "GET /"], 2) == [
        Learnt("GET /items/7", "GET /items/{id}", {"db": 3, "x": 1}), Learnt("GET /", "GET /", {}),
    ]  # fmt: skip
    with pytest.raises(NotReady, match="6 requests were sent, 4 were observed"):
        learnt_of(timeline, ["GET /items/7", "GET /"], 3)


def test_each_route_backend_exchange_and_toxic_once() -> None:
    found = list(points([FRONT, ITEM, OTHER], ["cache", "db"], [SLOW, DOWN], 4))
    tried = [(p.learnt.sent, p.column) for p in found if not p.skipped]
    assert tried == [
        ("GET /", "cache slow #1"),
        ("GET /", "cache down"),
        ("GET /", "db slow #1"),
        ("GET /", "db slow #2"),
        ("GET /", "db down"),
        ("GET /items/7", "db slow #1"),
        ("GET /items/7", "db down"),
    ]
    skipped = {(p.learnt.sent, p.column): p.skipped for p in found if p.skipped}
    assert skipped["GET /items/7", "cache slow #1"] == NO_USE
    assert "the same as GET /items/7" in skipped["GET /items/8", "db slow #1"]
    assert len({p.planned().name for p in found}) == len(found)


def test_a_state_is_one_for_all_exchanges() -> None:
    read_only = SweptToxic("read-only", "postgresql_read_only")
    found = list(
        points(
            [FRONT],
            ["db"],
            [read_only],
            4,
            is_fault=lambda toxic: True,
            lasts=lambda toxic: toxic is read_only,
        )
    )
    assert [point.column for point in found] == ["db read-only"]
    assert found[0].planned().exchange == {}


def test_exchanges_have_the_names_of_their_backend_and_loops_are_tried_once() -> None:
    names = ("BEGIN", "INSERT t", "INSERT t", "INSERT t", "SELECT t", "COMMIT")
    loop = Learnt("POST /", "POST /", {"db": 6}, exchanges={"db": names})
    found = list(points([loop], ["db"], [SLOW], 64))
    assert [point.column for point in found][::5] == ["db slow #1 (BEGIN)", "db slow #6 (COMMIT)"]
    assert [point.turn for point in found if point.skipped == LOOP.format(3)] == [4]
    assert [point.turn for point in found if not point.skipped] == [1, 2, 3, 5, 6]


def test_a_fault_of_the_beginning_of_a_connection_is_known_as_one() -> None:
    known = load()
    opening = {type_ for type_, toxic in known.toxics.items() if _opens(toxic)}
    assert opening >= {
        "redis_max_clients",
        "postgresql_too_many_connections",
        "postgresql_starting_up",
        "mysql_too_many_connections",
        "mysql_access_denied",
    }
    assert not opening & {"postgresql_read_only", "redis_readonly", "exchange_delay"}


def _opens(toxic: type[Toxic]) -> bool:
    return issubclass(toxic, Fault) and toxic.opens()


def test_no_plain_select_meets_a_lock_and_only_an_idle_session_goes_away() -> None:
    values = {
        "backend": [{"name": "db", "upstream": "127.0.0.1:3306", "protocol": "mysql"}],
        "sweep": {
            "toxic": [
                {"name": "lock", "type": "mysql_lock_wait_timeout"},
                {"name": "gone", "type": "mysql_gone_away"},
            ]
        },
    }
    lock, gone = build(Experiment, values, "seism.toml:").swept()
    assert (gone.type, gone.name) == ("restart", "gone")
    where = load().toxic(lock.type).swept_where
    found = points([ITEM], ["db"], [lock], 4, (), is_fault=lambda _: True, where=lambda _: where)
    pattern = expression(next(found).planned().exchange["regex"], "here")
    locking = ["UPDATE t SET a = ?", "SELECT a FROM t FOR UPDATE", "COMMIT", "WITH x AS (?) DELETE"]
    assert all(map(pattern, locking))
    assert not any(map(pattern, ["SELECT a FROM t", "BEGIN", "SELECT update_time FROM t"]))


def test_a_report_of_a_stopped_sweep_says_what_was_found(tmp_path: Path) -> None:
    tried = {
        "route": "GET /",
        "perturbation": "db slow #1",
        "colour": RED,
        "reasons": ["500"],
        "requests": 3,
        "exact": 3,
        "possible": 0,
        "worst": None,
        "certain": True,
    }
    left = {**tried, "perturbation": "db down", "colour": NOT_COVERED, "requests": 0}
    report = tmp_path / "report.json"
    report.write_text(json.dumps({"cells": [tried, {**left, "reasons": [STOPPED]}]}))
    found = found_before(report)
    assert list(found) == [("GET /", "db slow #1")]
    assert found["GET /", "db slow #1"].reasons == ("500",)
    report.write_text("{}")
    with pytest.raises(ConfigurationError, match="no sweep that could be resumed"):
        found_before(report)


def test_what_is_switched_off_or_too_much_is_listed() -> None:
    found = list(points([FRONT], ["db"], [SLOW, DOWN], 1, without=["down"]))
    assert [(p.column, p.skipped) for p in found] == [
        ("db slow #1", ""), ("db slow #2", "beyond the first 1 exchanges"), ("db down", OFF),
    ]  # fmt: skip


def test_the_result_covers_what_was_tried_and_nothing_else() -> None:
    found = list(points([FRONT, ITEM], ["db"], [SLOW, DOWN], 4, without=["down"]))
    first, second = [point.planned().name for point in found if point.learnt is FRONT][:2]
    third = next(p.planned().name for p in found if p.learnt is ITEM)
    judgement = judge(Story().end())
    cells = [
        Cell("GET /", first, GREEN, (), 3, 3, 0),
        Cell("GET /", second, RED, ("500",), 3, 3, 0),
        Cell("GET /items/{id}", third, NOT_COVERED, (NEVER,), 3, 0, 0),
    ]
    result = swept(judgement, found, {(cell.route, cell.perturbation): cell for cell in cells})
    assert (result.grid, result.tried, result.unreachable) == (5, 3, 1)
    assert result.saved == {OFF: 2}
    matrix = {(c.route, c.perturbation): (c.colour, c.reasons) for c in result.judgement.cells}
    assert matrix == {
        ("GET /", "db slow #1"): (GREEN, ()),
        ("GET /", "db slow #2"): (RED, ("500",)),
        ("GET /", "db down"): (NOT_COVERED, (OFF,)),
        ("GET /items/{id}", "db slow #1"): (NOT_COVERED, (NEVER,)),
        ("GET /items/{id}", "db down"): (NOT_COVERED, (OFF,)),
    }
    assert result.judgement.never_fired == ()
    collapsed = {(c.route, c.perturbation): c.colour for c in result.collapsed().cells}
    assert collapsed["GET /", "db slow"] == RED
    assert result.collapsed().perturbations == ("db slow", "db down")
    assert list(result.lines()) == [
        "3 of 5 possible probes were made, 1 of them reached nothing", f"2 saved: {OFF}",
    ]  # fmt: skip


def test_faults_of_a_protocol_are_counted_by_the_protocol() -> None:
    fault = SweptToxic("loading", "redis_loading", exchange={"kind": "get"})
    found = points(
        [FRONT], ["cache", "db"], [fault], 4,
        fits=lambda toxic, backend: backend == "cache", is_fault=lambda toxic: True,
    )  # fmt: skip
    cache, *db = found
    planned = cache.planned()
    assert (planned.turn, planned.exchange) == (0, {"kind": "get", "nth": 1})
    assert {point.skipped for point in db} == {UNFIT}


def test_a_fault_that_fits_no_backend_is_refused() -> None:
    file = {
        "backend": [{"name": "a", "upstream": "127.0.0.1:1"}],
        "sweep": {"toxic": [{"name": "loading", "type": "redis_loading"}]},
    }
    with pytest.raises(ConfigurationError, match=r"loading.*needs a proxy that knows its protocol"):
        build(Experiment, file, "file")


def test_the_toxics_that_are_tried_can_be_chosen() -> None:
    assert Experiment().swept() == SWEPT
    mine = {"sweep": {"toxic": [{"name": "mine", "type": "noop"}], "exchanges": 1}}
    assert [toxic.name for toxic in build(Experiment, mine, "file").swept()] == ["mine"]


def test_where_a_protocol_is_known_its_usual_faults_are_tried() -> None:
    registry = load()
    for protocol, codec in registry.protocols.items():
        usual = [fault for fault in codec.faults if issubclass(fault, Fault) and fault.swept]
        backend = {"name": "a", "upstream": "127.0.0.1:1", "protocol": protocol}
        experiment = build(Experiment, {"backend": [backend]}, "file")
        tried = experiment.swept()[len(SWEPT) :]
        assert [(t.name, t.type) for t in tried] == [(f.swept, f.type) for f in usual]
        assert usual and all(experiment.fits(toxic, "a") for toxic in tried)
    backends = [
        {"name": "db", "upstream": "127.0.0.1:1", "protocol": "postgresql"},
        {"name": "cache", "upstream": "127.0.0.1:1", "protocol": "redis"},
    ]
    experiment = build(Experiment, {"backend": backends}, "file")
    names = [toxic.name for toxic in experiment.swept()[len(SWEPT) :]]
    own = ["40001", "read-only", "disk full", "57P01", "starting up", "full", "commit lost"]
    assert names == [*own, "LOADING", "READONLY", "out of memory", "full"]
