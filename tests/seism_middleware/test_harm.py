"""What is seen between two requests on one connection, byte by byte, on real sockets."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from seism_middleware import harm, observer, sentinel
from seism_middleware.contract import (
    Harm,
    PerturbationBegan,
    PerturbationEnded,
    Proxied,
    Proxies,
    RequestEnded,
)
from seism_middleware.tcp import address_text
from seism_middleware.traffic import Connection
from seism_middleware.wsgi import SeismWSGI
from tests.seism_middleware.peer import Peer, eventually
from tests.seism_middleware.test_wsgi import call

Step = Callable[[], object]


class Stage:
    """An app of which each request does what it is told, on one connection of its own."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.steps: list[Step] = []
        self.status = "200 OK"
        self.app = SeismWSGI(self._app, sidecar=peer.address)
        self.replied = 0

    def _app(self, environ: dict[str, Any], start_response: Any) -> Any:
        for step in self.steps:
            step()
        start_response(self.status, [("Content-Type", "text/plain"), ("Content-Length", "1")])
        return [b"x"]

    def request(self, *steps: Step, status: str = "200 OK") -> str:
        """Make one request that takes these steps; its id."""
        self.steps, self.status = list(steps), status
        done = len(self.peer.records(RequestEnded))
        call(self.app)
        ended: RequestEnded = self.peer.wait(RequestEnded, done + 1)[-1]
        return ended.request

    @contextmanager
    def connected(self) -> Iterator[None]:
        self.request()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = listener.getsockname()
            self.peer.tell(Proxies((Proxied("db", *address),)))
            eventually(lambda: observer.LEDGER.backend_of(address), "the proxies are known")
            with socket.create_connection(address) as self.client:
                self.backend, _ = listener.accept()
                with self.backend:
                    self.address = address_text(self.client.getsockname())
                    self.listen = address_text(address)
                    yield

    def ask(self) -> None:
        self.client.sendall(b"question")
        assert self.backend.recv(8, socket.MSG_WAITALL) == b"question"

    def reply(self, text: bytes = b"reply") -> None:
        """The backend replies; returns when it has arrived."""
        self.replied += len(text)
        self.backend.sendall(text)
        eventually(lambda: observer.received(self.client) == self.replied, "the reply has arrived")

    def read(self, size: int = 5) -> None:
        assert len(self.client.recv(size, socket.MSG_WAITALL)) == size

    def perturbed(self, start: int, end: int, order: dict[int, int]) -> None:
        """A perturbation of the client's bytes from ``start`` to ``end`` began and is over."""
        began = PerturbationBegan(
            "p1", "db", "t", "latency", time.monotonic(), "upstream", self.address,
            self.listen, "", start,
        )  # fmt: skip
        self.peer.tell(began)
        self.peer.tell(
            PerturbationEnded(
                "p1", time.monotonic(), "passed", end,
                asked=tuple(order), answers=tuple(order.values()),
            )
        )  # fmt: skip

    def harms(self) -> list[Harm]:
        """All that were reported: the next observation comes after them."""
        self.request()
        return self.peer.records(Harm)


@pytest.fixture
def stage(peer: Peer) -> Iterator[Stage]:
    stage = Stage(peer)
    with stage.connected():
        yield stage


def test_a_late_reply_is_read_by_the_next(stage: Stage) -> None:
    first = stage.request(stage.ask, status="503 Later")
    stage.reply()
    second = stage.request(stage.ask, stage.read)
    assert stage.harms() == [
        Harm("crosstalk", second, True, "db", stage.address, first),
    ]


def test_nobody_was_answered_wrongly(stage: Stage) -> None:
    """Each reads its own: in order, before it ends or on behalf of who has gone."""
    stage.request(stage.ask, stage.reply, stage.read)
    stage.request(stage.ask, stage.reply, stage.read)
    stage.request(stage.ask, status="503 Later")
    stage.reply()
    # The reply that is owed is read and thrown away before the next question.
    stage.request(stage.read, stage.ask, stage.reply, stage.read)
    assert stage.harms() == []


@pytest.mark.parametrize(
    "asked",
    [
        b"*2\r\n$9\r\nSUBSCRIBE\r\n$3\r\nall\r\n",
        b"*2\r\n$11\r\nunsubscribe\r\n$3\r\nall\r\n",
        b"Q\0\0\0\x0fLISTEN all;\0",
        b"P\0\0\0\x12s1\0LISTEN all\0\0\0",
    ],
)
def test_what_a_subscription_brings_answers_no_question(stage: Stage, asked: bytes) -> None:
    stage.client.sendall(asked)
    assert stage.backend.recv(len(asked), socket.MSG_WAITALL) == asked
    stage.request(stage.ask, stage.reply)
    stage.request(stage.ask, stage.read)
    assert stage.harms() == []


def test_who_throws_a_late_reply_away_after_asking_is_not_certain(stage: Stage) -> None:
    first = stage.request(stage.ask, status="503 Later")
    stage.reply()
    second = stage.request(stage.ask, stage.read, stage.reply, stage.read)
    assert stage.harms() == [Harm("crosstalk", second, False, "db", stage.address, first)]


def test_questions_without_replies(stage: Stage) -> None:
    for _ in range(3):
        stage.request(stage.ask)
    stage.request(stage.ask, stage.reply, stage.read)
    stage.request(stage.ask, stage.reply, stage.read, stage.ask)
    stage.request(stage.ask)
    assert stage.harms() == []


def test_who_failed_was_not_answered_at_all(stage: Stage) -> None:
    stage.request(stage.ask, status="503 Later")
    stage.reply()
    stage.request(stage.ask, stage.read, status="503 Later")
    assert [harm for harm in stage.harms() if harm.exact] == []


def test_who_logged_an_error_may_have_fallen_back(stage: Stage) -> None:
    first = stage.request(stage.ask, status="503 Later")
    stage.reply()
    log = logging.getLogger("test")
    second = stage.request(stage.ask, stage.read, lambda: log.error("not mine"))
    assert stage.harms() == [Harm("crosstalk", second, False, "db", stage.address, first)]


@pytest.mark.parametrize(("answers", "exact"), [(5, True), (4, False), (0, False)])
def test_the_proxy_knows_which_came_first(stage: Stage, answers: int, exact: bool) -> None:
    """Both replies come after the second question; the proxy was given it after 5 bytes."""
    first = stage.request(stage.ask, status="503 Later")
    second = stage.request(stage.ask, stage.reply, stage.read)
    stage.perturbed(0, 16, {0: 0, 8: answers})
    eventually(lambda: stage.peer.records(Harm), "harm")
    (harm,) = [harm for harm in stage.harms() if harm.what == "crosstalk"]
    assert harm == Harm("crosstalk", second, exact, "db", stage.address, first)


def test_what_arrives_between_two_looks_was_not_unread_before(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has been read is a difference: another's reply may come between its two looks."""
    first = stage.request(stage.ask, status="503 Later")
    stage.reply()
    look = harm.unread

    def slow(connection: Connection, sock: Any) -> int:
        stage.reply()
        waiting = look(connection, sock)
        stage.reply()
        return waiting

    def disturbed() -> None:
        monkeypatch.setattr(harm, "unread", slow)

    second = stage.request(stage.ask, stage.read, stage.reply, stage.read, disturbed)
    monkeypatch.setattr(harm, "unread", look)
    assert stage.harms() == [Harm("crosstalk", second, False, "db", stage.address, first)]


def test_what_arrives_while_a_connection_is_taken_over(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same where a request asks and waits for no reply."""
    stage.request(stage.ask, status="503 Later")
    stage.reply()
    stage.request(stage.read, stage.ask)
    look = harm.unread

    def slow(connection: Connection, sock: Any) -> int:
        monkeypatch.setattr(harm, "unread", look)
        stage.reply()
        return look(connection, sock)

    def disturbed() -> None:
        monkeypatch.setattr(harm, "unread", slow)

    stage.request(disturbed, stage.ask)
    assert [harm for harm in stage.harms() if harm.exact] == []


def test_who_went_away_before_the_reply(stage: Stage) -> None:
    first = stage.request(stage.ask, status="503 Later")
    stage.perturbed(0, 8, {0: 0})
    eventually(lambda: stage.peer.records(Harm), "harm")
    assert stage.harms() == [Harm("abandoned", first, True, "db", stage.address, perturbation="p1")]


def test_who_waited_or_closed_has_not_gone_away(stage: Stage) -> None:
    stage.request(stage.ask, stage.reply, stage.read)
    stage.perturbed(0, 8, {0: 0})
    stage.request(stage.ask, stage.client.close, status="503 Later")
    stage.perturbed(8, 16, {8: 5})
    assert stage.harms() == []


def test_sentinel(stage: Stage) -> None:
    marks: list[str] = []
    seen: list[bool] = []

    def plant() -> None:
        marks.append(sentinel.plant("value "))

    def check() -> None:
        seen.extend(map(sentinel.check, (marks[-1], marks[-1].encode(), "no mark")))

    def check_first() -> None:
        seen.append(sentinel.check(marks[0] + marks[-1]))

    first = stage.request(plant, check)
    second = stage.request(plant, check_first)
    assert seen == [True, True, True, False]
    assert stage.harms() == [Harm("sentinel", second, True, other=first)]
    assert sentinel.plant("as it is") == "as it is"
    assert sentinel.check(marks[0])


@pytest.mark.parametrize(
    ("message", "arguments", "backends", "credentials"),
    [
        ("the db failed", (), ("db",), False),
        ("%s: timed out", ("DB",), ("db",), False),
        ("the dbase failed", (), (), False),
        ("cannot connect to postgresql://app:hunter2@here/x", (), (), True),
        ("cannot connect to postgresql://app:***@here/x", (), (), False),
        ("cannot connect to postgresql://app@here/x", (), (), False),
        ("login failed: %s", ("password='hunter2'",), (), True),
        ("login failed: password=%s", ("***",), (), False),
        ("no token: %s", (None,), (), False),
        ("broken %s %s", ("only one",), (), False),
    ],
)
def test_what_an_error_tells(
    stage: Stage,
    message: str,
    arguments: tuple[object, ...],
    backends: tuple[str, ...],
    credentials: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    log = logging.getLogger("test")
    stage.request(lambda: log.error(message, *arguments))
    (error,) = stage.peer.records(RequestEnded)[-1].errors
    assert (error.backends, error.credentials) == (backends, credentials)
    assert "hunter2" not in repr(stage.peer.received) or not arguments


@pytest.mark.parametrize("words", ["no answer from here:%d", 'at "127.0.0.1", port %d failed'])
def test_an_address_names_its_backend(stage: Stage, words: str) -> None:
    port = stage.client.getpeername()[1]
    stage.request(lambda: logging.getLogger("test").error(words, port))
    (error,) = stage.peer.records(RequestEnded)[-1].errors
    assert error.backends == ("db",)
