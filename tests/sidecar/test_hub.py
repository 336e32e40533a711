"""The hub, spoken to over real sockets by a worker that the test plays line by line."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent.socket import socketpair

from seism.clock import MonotonicClock
from seism.journal import BROKEN, SCHEMA, Journal, Manifest, Missing, WorkerLeft, read
from seism.proxy.slices import rest
from seism.sidecar.hub import RECENT, SLICE, Hub
from seism_middleware import contract, wire
from seism_middleware.contract import (
    Attribution,
    Census,
    CensusAsked,
    Dropped,
    Goodbye,
    Hello,
    PerturbationBegan,
    PerturbationEnded,
    Proxied,
    Proxies,
    RequestBegun,
    RequestEnded,
    Welcome,
)

CLOCK = MonotonicClock()
PROXY = Proxied("db", "127.0.0.1", 5432)
BEGUN = RequestBegun("w-1", "GET", 5.0, "/")
ENDED = RequestEnded("w-1", "GET", "/", 5.0, 0.1, 200, "complete")


class FakeWorker:
    """The worker's end of a stream."""

    def __init__(self, hub: Hub, name: str = "w") -> None:
        self.name = name
        self.socket, theirs = socketpair()
        self.serving = gevent.spawn(hub.serve, theirs)
        self.file = self.socket.makefile("rb")
        self.number = 0

    def hello(self, domain: str = CLOCK.domain, now: float | None = None, key: str = "") -> Welcome:
        clock = contract.Clock(domain, CLOCK.now() if now is None else now)
        self.say(Hello(self.name, 1, clock, "wsgi", key=key))
        welcome: Welcome = self.hear()
        return welcome

    def say(self, record: Any, number: int | None = None) -> None:
        self.number = self.number + 1 if number is None else number
        self.socket.sendall(wire.encode(record, self.number))

    def hear(self) -> Any:
        with gevent.Timeout(10):
            return wire.decode(self.file.readline())[0]

    def leave(self) -> None:
        self.socket.shutdown(2)
        self.serving.join(10)
        self.file.close()
        self.socket.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


@pytest.fixture
def published() -> list[Any]:
    return []


@pytest.fixture
def hub(path: Path, published: list[Any]) -> Iterator[Hub]:
    journal = Journal(path, Manifest(SCHEMA, "0", 1, CLOCK.domain, ""), time.monotonic)
    yield Hub(journal, CLOCK, lambda: (PROXY,), lambda record, _: published.append(record))
    journal.close()


def journalled(hub: Hub, path: Path) -> list[Any]:
    assert hub.journal.sync().wait(10)
    return [entry.record for entry in read(path)][1:]


def test_a_stream_begins_with_hello_and_welcome(hub: Hub) -> None:
    worker = FakeWorker(hub)
    welcome = worker.hello()
    assert welcome.proxies == (PROXY,)
    assert welcome.clock.domain == CLOCK.domain
    hub.proxies_changed()
    assert worker.hear() == Proxies((PROXY,))
    worker.leave()
    assert hub.workers == []


def test_records_reach_the_journal_with_worker_and_number(hub: Hub, path: Path) -> None:
    worker = FakeWorker(hub)
    worker.hello()
    attribution = Attribution("p1", "w-1", "ledger", True)
    for record in (BEGUN, attribution, ENDED, Goodbye()):
        worker.say(record)
    worker.leave()
    _, *records, left = journalled(hub, path)
    assert records == [BEGUN, attribution, ENDED]
    assert (left.orderly, left.unanswered) == (True, 0)
    entries = [entry for entry in read(path) if entry.n is not None]
    assert [(entry.worker, entry.n) for entry in entries] == [("w", n) for n in (1, 2, 3, 4)]


def test_a_worker_that_dies_leaves_no_response(hub: Hub, path: Path) -> None:
    worker = FakeWorker(hub)
    worker.hello()
    worker.say(BEGUN)
    worker.say(RequestBegun("w-2", "GET", 6.0, "/slow"))
    worker.say(ENDED)
    worker.leave()
    records = journalled(hub, path)
    ended = {r.request: r for r in records if isinstance(r, RequestEnded)}
    assert ended["w-1"] == ENDED
    assert (ended["w-2"].status, ended["w-2"].body, ended["w-2"].route) == (None, "none", "/slow")
    assert records[-1] == WorkerLeft(records[-1].at, False, 1, BROKEN)


def test_perturbations_reach_every_worker(hub: Hub) -> None:
    workers = [FakeWorker(hub, name) for name in ("a", "b")]
    for worker in workers:
        worker.hello()
    began = PerturbationBegan("p1", "db", "slow", "latency", 1.0, "upstream", offset=3)
    hub.publish(began)
    assert [worker.hear() for worker in workers] == [began, began]
    for worker in workers:
        worker.leave()


def test_who_joins_late_is_told_of_what_was_perturbed_meanwhile(hub: Hub) -> None:
    began = PerturbationBegan("p1", "db", "slow", "latency", CLOCK.now(), "upstream", "", "", "", 0)
    ended = PerturbationEnded("p1", CLOCK.now(), "passed", 10)
    long_ago = CLOCK.now() - RECENT - 1
    began = dataclasses.replace(began, client="127.0.0.1:1")
    hub.perturbed(dataclasses.replace(began, at=long_ago))
    down = PerturbationBegan("p2", "db", "down", "down", long_ago)
    over = dataclasses.replace(down, perturbation="p3")
    for record in (down, over, PerturbationEnded("p3", long_ago, "enabled"), began):
        hub.perturbed(record)
    early = FakeWorker(hub, "early")
    welcome = early.hello()
    hub.perturbed(ended)
    assert [early.hear() for _ in range(3)] == [down, began, ended]
    late = FakeWorker(hub, "late")
    assert late.hello().sidecar == welcome.sidecar != ""
    assert [late.hear() for _ in range(3)] == [down, began, ended]
    for worker in (early, late):
        worker.leave()


def test_gaps_and_drops_are_counted_once(hub: Hub, path: Path) -> None:
    worker = FakeWorker(hub)
    worker.hello()
    worker.say(BEGUN)
    worker.say(ENDED, number=6)  # 3, 4 and 5 are missing
    worker.say(Dropped(4), number=11)  # 7 to 10, as it says itself
    worker.leave()
    # The same worker, again: its numbers go on.
    worker = FakeWorker(hub)
    worker.number = 11
    worker.hello()
    worker.say(BEGUN)
    worker.leave()
    assert hub.dropped == 7
    assert [r.count for r in journalled(hub, path) if isinstance(r, Missing)] == [3, 4]


def test_a_census_waits_for_all_but_not_for_ever(hub: Hub) -> None:
    quick, mute = FakeWorker(hub, "quick"), FakeWorker(hub, "mute")
    for worker in (quick, mute):
        worker.hello()
    taken = gevent.spawn(hub.take_census, 0.2)
    asked = quick.hear()
    assert isinstance(asked, CensusAsked)
    quick.say(Census(asked.census, 1.0, None))
    assert taken.get(timeout=10) == 1
    taken = gevent.spawn(hub.take_census, 10)
    quick.say(Census(quick.hear().census, 1.0, None))
    mute.leave()  # who has left is not waited for
    assert taken.get(timeout=5) == 2
    quick.leave()


@pytest.mark.parametrize(
    "line",
    [
        b"GET / HTTP/1.1\r\n",
        b'{"kind":"attribution","perturbation":"p","request":null,"evidence":"ledger","exact":true}\n',
        b'{"kind":"hello"}\n',
        b"x" * (wire.MAX_LINE + 2),
        b"[]\n",
        b"\xff\n",
    ],
)
def test_a_stranger_is_shown_the_door(hub: Hub, path: Path, line: bytes) -> None:
    worker = FakeWorker(hub)
    worker.socket.sendall(line)
    worker.serving.join(10)
    assert worker.serving.ready()
    worker.leave()
    assert journalled(hub, path) == []


def test_times_of_another_clock_are_moved(hub: Hub, path: Path) -> None:
    worker = FakeWorker(hub)
    worker.hello("another host", now=CLOCK.now() - 1000)
    began = CLOCK.now() - 1000
    worker.say(RequestBegun("w-1", "GET", began))
    worker.say(RequestEnded("w-1", "GET", "/", began, 0.1, 200, "complete"))
    worker.leave()
    _, begun, ended, _ = journalled(hub, path)
    assert begun.at == pytest.approx(began + 1000, abs=1)
    assert ended.began == begun.at


def test_a_worker_that_never_reads_is_cut_off(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seism.sidecar.hub.MAX_OUTBOX", 1000)
    worker = FakeWorker(hub)
    worker.hello()
    for _ in range(100):  # no greenlet switch: nothing is written meanwhile
        hub.proxies_changed()
    worker.serving.join(10)
    assert hub.workers == []
    worker.leave()


@pytest.mark.parametrize("thief_key", ["", "another"])
def test_who_takes_another_workers_name_silences_nobody(
    hub: Hub, path: Path, thief_key: str
) -> None:
    real, thief = FakeWorker(hub), FakeWorker(hub)
    real.hello(key="mine")
    real.say(BEGUN)
    thief.number = 10**9
    thief.hello(key=thief_key)
    real.say(ENDED)
    real.leave()
    # The real one again, whose numbers go on; nothing of it is taken for known or missing.
    again = FakeWorker(hub)
    again.number = real.number
    again.hello(key="mine")
    again.say(dataclasses.replace(ENDED, request="w-2"))
    for worker in (thief, again):
        worker.leave()
    journalled(hub, path)
    entries = [entry for entry in read(path) if entry.worker]
    assert {entry.worker for entry in entries} == {"w", "w~2"}
    ended = [e.record.request for e in entries if isinstance(e.record, RequestEnded)]
    assert ended == ["w-1", "w-2"]
    assert [e.worker for e in entries if isinstance(e.record, Missing)] == ["w~2"]


def test_a_key_is_written_nowhere(hub: Hub, path: Path, published: list[Any]) -> None:
    worker = FakeWorker(hub)
    worker.hello(key="only-for-us")
    worker.say(Hello("w", 1, contract.Clock("x", 1.0), "wsgi", key="only-for-us"))
    worker.leave()
    assert "only-for-us" not in path.read_text() + repr(journalled(hub, path)) + repr(published)


@pytest.mark.parametrize("name", ["", "w" * 201])
def test_names_that_cannot_be(hub: Hub, path: Path, name: str) -> None:
    worker = FakeWorker(hub, name)
    worker.say(Hello(name, 1, contract.Clock("x", 1.0), "wsgi"))
    worker.serving.join(10)
    assert worker.serving.ready()
    worker.leave()
    assert journalled(hub, path) == []


def test_a_time_that_is_yet_to_come_ends_the_stream(hub: Hub, path: Path) -> None:
    for name, record in (
        ("a", RequestBegun("w-1", "GET", CLOCK.now() + 3600, "/")),
        ("b", RequestEnded("w-1", "GET", "/", 5.0, CLOCK.now() + 3600, 200, "complete")),
        ("c", Census("c1", CLOCK.now() + 3600, None)),
    ):
        worker = FakeWorker(hub, name)
        worker.hello()
        worker.say(record)
        worker.serving.join(10)
        assert worker.serving.ready()
        worker.leave()
    assert {type(each) for each in journalled(hub, path)} == {Hello, WorkerLeft}


def flood(worker: FakeWorker, count: int, size: int) -> None:
    for number in range(count):
        worker.say(RequestBegun(f"w-{number}", "GET", 5.0, "/" + "x" * size))


@pytest.mark.parametrize("size", [0, wire.MAX_LINE - 200])
def test_requests_that_never_end_are_bounded_by_bytes(
    hub: Hub, path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr("seism.sidecar.hub.MAX_IN_FLIGHT", 100_000)
    worker = FakeWorker(hub)
    worker.hello()
    flood(worker, 400, size)
    gevent.sleep(0.05)
    (served,) = hub.workers
    assert 0 < hub.in_flight <= 100_000
    kept = len(served.in_flight)
    worker.leave()
    assert hub.dropped == 400 - kept
    assert hub.in_flight == 0
    ended = [each for each in journalled(hub, path) if isinstance(each, RequestEnded)]
    assert len(ended) == kept


def test_the_requests_of_all_workers_are_bounded_together(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seism.sidecar.hub.MAX_ALL_IN_FLIGHT", 20_000)
    workers = [FakeWorker(hub, name) for name in ("a", "b", "c")]
    for worker in workers:
        worker.hello()
        flood(worker, 50, 0)
    gevent.sleep(0.05)
    assert hub.in_flight <= 20_000
    for worker in workers:
        worker.leave()
    assert hub.in_flight == 0


def test_no_stream_that_stays_full_starves_the_others(hub: Hub) -> None:
    """The event loop turns after each slice, however many workers have more to say."""
    floods = [FakeWorker(hub, f"flood-{number}") for number in range(5)]
    for worker in floods:
        worker.hello()
    worst = [0]
    taken = hub.published

    def count(record: Any, size: int) -> None:
        worst[0] += size
        taken(record, size)

    hub.published = count
    data = b"".join(wire.encode(BEGUN) for _ in range(200))

    def pour(worker: FakeWorker) -> None:
        while True:
            worker.socket.sendall(data)

    pouring = [gevent.spawn(pour, worker) for worker in floods]
    most = 0
    for _ in range(200):
        worst[0] = 0
        rest()
        most = max(most, worst[0])
    gevent.killall(pouring)
    # One slice and what was left of a line before it, not one of each.
    assert 0 < most <= 2 * SLICE
    for worker in floods:
        worker.leave()


def test_a_line_that_drips_is_looked_at_once(hub: Hub, path: Path) -> None:
    worker = FakeWorker(hub)
    worker.hello()
    line = wire.encode(dataclasses.replace(BEGUN, route="/" + "x" * 5000), 2)
    for at in range(0, len(line), 7):
        worker.socket.sendall(line[at : at + 7])
        gevent.sleep(0)
    worker.leave()
    assert any(isinstance(each, RequestBegun) for each in journalled(hub, path))


def test_streams_beyond_the_bound_are_turned_away(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seism.sidecar.hub.MAX_WORKERS", 2)
    monkeypatch.setattr("seism.sidecar.hub.MAX_RINGS", 1)
    workers = [FakeWorker(hub, name) for name in ("a", "b")]
    assert [bool(worker.hello().ring) for worker in workers] == [True, False]
    third = FakeWorker(hub, "c")
    assert third.file.readline() == b""
    workers[0].leave()
    fourth = FakeWorker(hub, "d")
    assert fourth.hello().ring
    for worker in (workers[1], third, fourth):
        worker.leave()


def test_what_says_nothing_is_not_kept(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seism.sidecar.hub.HELLO_SECONDS", 0.05)
    worker = FakeWorker(hub)
    assert worker.file.readline() == b""
    worker.leave()
