"""The event stream of a real ``seism serve``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest

from seism.client import Control
from seism.sidecar import feed as feed_module
from seism.sidecar.control import events
from seism.sidecar.control.router import Router
from seism.sidecar.control.server import ControlServer
from seism.sidecar.feed import Feed
from seism_middleware.contract import PerturbationEnded
from tests.processes import sidecar, until
from tests.proxy.harness import GeventThread
from tests.sidecar.control.samples import samples
from tests.sidecar.control.sse import Event, Reader


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Control]:
    with sidecar(tmp_path_factory.mktemp("events") / "journal.jsonl") as control:
        control.call("POST", "/proxies", {"name": "backend", "upstream": "127.0.0.1:1"})
        yield control


def perturb(served: Control) -> None:
    """Two records: the backend goes down, and comes back."""
    served.enable("backend", False)
    served.enable("backend", True)


def address(served: Control) -> tuple[str, int]:
    return served.host, served.port


def summary(event: Event) -> tuple[str, str]:
    return event.name, event.data.get("type") or event.data.get("outcome")


ROUND = [("perturbation.began", "down"), ("perturbation.ended", "enabled")]


def test_several_readers_see_what_happens_as_it_happens(served: Control) -> None:
    with Reader(address(served)) as one, Reader(address(served)) as two:
        for reader in (one, two):
            hello = reader.next()
            assert (hello.name, hello.data) == (
                "hello",
                {"topics": ["perturbations"], "earlier": {}},
            )
            assert "text/event-stream" in reader.head
            assert "no-store" in reader.head
        perturb(served)
        for reader in (one, two):
            began, ended = reader.next(), reader.next()
            assert [summary(began), summary(ended)] == ROUND
            assert began.data["kind"] == began.name
            assert began.data["perturbation"] == ended.data["perturbation"]


def test_who_comes_back_misses_nothing(served: Control) -> None:
    with Reader(address(served)) as reader:
        reader.next()
        perturb(served)
        last = reader.next()
    perturb(served)
    for how in ("header", "parameter"):
        reader = (
            Reader(address(served), Last_Event_ID=last.id) if how == "header"
            else Reader(address(served), f"/seism/events?last_event_id={last.id}")
        )  # fmt: skip
        with reader:
            assert reader.next().name == "hello"
            assert [summary(reader.next()) for _ in range(3)] == [ROUND[1], *ROUND]


def test_an_id_that_is_not_known_is_told_and_what_there_is_follows(served: Control) -> None:
    perturb(served)
    for stale in ("otherrun-1-0-0", "garbage"):
        with Reader(address(served), Last_Event_ID=stale) as reader:
            assert reader.next().name == "hello"
            missed = reader.next()
            assert (missed.name, missed.data) == ("missed", None)
            assert summary(reader.next()) == ROUND[0]


def test_from_the_start(served: Control) -> None:
    perturb(served)
    with Reader(address(served), "/seism/events?since=start") as reader:
        assert reader.next().name == "hello"
        assert summary(reader.next()) == ROUND[0]


def test_the_stream_ends_in_order_with_the_sidecar(tmp_path: Path) -> None:
    with sidecar(tmp_path / "journal.jsonl") as control:
        control.call("POST", "/proxies", {"name": "backend", "upstream": "127.0.0.1:1"})
        reader = Reader(address(control))
        reader.next()
        control.enable("backend", False)
        assert summary(reader.next()) == ROUND[0]
    with reader:
        last = reader.next()
        assert (last.name, last.data["outcome"]) == ("perturbation.ended", "removed")
        assert reader.next_or_end() is None
    assert "Traceback" not in (tmp_path / "journal.log").read_text()


def test_readers_have_a_number(served: Control) -> None:
    def readers() -> float:
        return samples(served)["seism_event_readers"]

    many = []
    try:
        while len(many) < events.MAX_READERS:
            reader = Reader(address(served))
            many.append(reader)
            if reader.next_head().startswith("HTTP/1.1 503"):
                break
        with Reader(address(served)) as late:
            assert late.next_head().startswith("HTTP/1.1 503")
    finally:
        for reader in many:
            reader.sock.close()
    # Who has gone is noticed with the next records.
    until(lambda: perturb(served) or readers() == 0)


# A slow reader, with a ring and a patience that a test can exhaust.


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[GeventThread, Feed, tuple[str, int]]]:
    monkeypatch.setattr(events, "PATIENCE", 0.3)
    assert feed_module.SIZE > 1000
    with GeventThread() as thread:

        def start() -> tuple[Feed, ControlServer]:
            feed = Feed("run", 1000)
            server = ControlServer("127.0.0.1", 0, Router(events.routes(feed)))
            server.start()
            return feed, server

        feed, server = thread.call(start)
        yield thread, feed, server.address
        thread.call(server.close)


def flood(thread: GeventThread, feed: Feed, count: int) -> None:
    def publish() -> None:
        for number in range(count):
            feed.publish(PerturbationEnded(f"p{number}", 0.0, "x" * 100))
            if number % 100 == 0:
                gevent.sleep(0)

    thread.call(publish)


def test_a_reader_that_stops_reading_is_dropped_and_is_told_when_it_is_back(
    small: tuple[GeventThread, Feed, tuple[str, int]], caplog: pytest.LogCaptureFixture
) -> None:
    thread, feed, where = small
    with Reader(where, receive=4096) as slow, Reader(where) as quick:
        first = slow.next()
        quick.next()
        assert thread.call(lambda: feed.readers) == 2
        # More than the sockets can hold; the quick one reads, the slow one does not.
        seen = 0
        for _ in range(40):
            flood(thread, feed, 500)
            for _ in range(500):
                event = quick.next()
                assert event.name == "perturbation.ended"
                seen += 1
        assert seen == 20_000
        until(lambda: thread.call(lambda: feed.readers) == 1)
    with Reader(where, Last_Event_ID=first.id) as back:
        assert back.next().name == "hello"
        missed = back.next()
        assert (missed.name, missed.data) == ("missed", {"perturbations": 19_000})
        assert back.next().data["perturbation"] == "p0"
    assert caplog.text == ""


def test_a_reader_that_has_gone_is_forgotten(
    small: tuple[GeventThread, Feed, tuple[str, int]],
) -> None:
    thread, feed, where = small
    with Reader(where) as reader:
        reader.next()
        assert thread.call(lambda: feed.readers) == 1

    def gone() -> bool:
        flood(thread, feed, 1)
        return thread.call(lambda: feed.readers) == 0

    until(gone)


def test_silence_is_broken_by_comments(
    small: tuple[GeventThread, Feed, tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "HEARTBEAT", 0.02)
    _, _, where = small
    with Reader(where) as reader:
        reader.next()
        assert reader.sock.recv(100).startswith(b": ")
