"""Toxics of the connection phase: refuse, connect_delay, accept_close, blackhole."""

from __future__ import annotations

from seism.toxics.accept_close import AcceptClose
from seism.toxics.base import Began, Close, Ended, Reset, Wake
from seism.toxics.blackhole import Blackhole
from seism.toxics.connect_delay import ConnectDelay
from seism.toxics.refuse import Refuse
from tests.toxics.conversation import Conversation


def test_refuse_resets_at_once() -> None:
    talk = Conversation(Refuse())
    assert talk.started(at=1) == [Began(), Ended("reset"), Reset()]


def test_accept_close_closes_after_its_delay_whatever_is_said() -> None:
    assert Conversation(AcceptClose()).started(at=1) == [Began(), Ended("closed"), Close()]
    talk = Conversation(AcceptClose(delay=250))
    assert talk.stage.holds_dial
    assert talk.started(at=1) == [Began(), Wake(1.25)]
    assert talk.data(b"x", at=1) == []
    assert talk.updated(AcceptClose(delay=500), at=1) == [Wake(1.5)]
    assert talk.due(at=1.5) == [Ended("closed"), Close()]


def test_accept_close_closes_early_when_nobody_waits_for_it() -> None:
    for event in ("eof", "removed"):
        talk = Conversation(AcceptClose(delay=250))
        talk.started(at=1)
        assert getattr(talk, event)(at=1) == [Ended("closed"), Close()]


def test_blackhole_swallows_until_someone_gives_up() -> None:
    talk = Conversation(Blackhole())
    assert talk.stage.holds_dial
    assert talk.started(at=1) == [Began()]
    assert talk.data(b"hello", at=2) == []
    assert talk.eof(at=3) == [Ended("lost"), Close()]
    talk = Conversation(Blackhole(timeout=250))
    assert talk.started(at=1) == [Began(), Wake(1.25)]
    assert talk.updated(Blackhole(), at=1) == []
    assert talk.due(at=1.25) == []
    assert talk.updated(Blackhole(timeout=500), at=1.5) == [Wake(1.5)]
    assert talk.due(at=1.5) == [Ended("closed"), Close()]
    talk = Conversation(Blackhole())
    talk.started(at=1)
    assert talk.removed(at=2) == [Ended("closed"), Close()]


def test_connect_delay_holds_the_dial_for_so_long() -> None:
    talk = Conversation(ConnectDelay(delay=250))
    assert talk.started(at=1) == [Began(), Wake(1.25)]
    assert talk.stage.holds_dial
    assert talk.updated(ConnectDelay(delay=500), at=1) == [Wake(1.5)]
    assert talk.due(at=1.5) == [Ended("passed")]
    assert not talk.stage.holds_dial
    assert talk.updated(ConnectDelay(delay=900), at=2) == talk.removed(at=2) == []


def test_connect_delay_can_be_nothing_or_be_removed() -> None:
    talk = Conversation(ConnectDelay())
    assert talk.started(at=1) == []
    assert not talk.stage.holds_dial
    talk = Conversation(ConnectDelay(delay=250))
    talk.started(at=1)
    assert talk.removed(at=1) == [Ended("removed")]
    assert not talk.stage.holds_dial
