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
from seism.sidecar.hub import RECENT, Hub
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

    def hello(self, domain: str = CLOCK.domain, now: float | None = None) -> Welcome:
        clock = contract.Clock(domain, CLOCK.now() if now is None else now)
        self.say(Hello(self.name, 1, clock, "wsgi"))
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
    yield Hub(journal, CLOCK, lambda: (PROXY,), published.append)
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
    monkeypatch.setattr("seism.sidecar.hub.MAX_OUTBOX", 10)
    worker = FakeWorker(hub)
    worker.hello()
    for _ in range(12):  # no greenlet switch: nothing is written meanwhile
        hub.proxies_changed()
    worker.serving.join(10)
    assert hub.workers == []
    worker.leave()
