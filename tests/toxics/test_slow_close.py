from __future__ import annotations

from seism.toxics.base import Began, Chunk, Ended, Eof, Forward, Wake
from seism.toxics.slow_close import SlowClose
from tests.toxics.conversation import Conversation


def test_only_the_end_is_delayed() -> None:
    talk = Conversation(SlowClose(delay=500))
    assert talk.data(b"ab", at=1) == [Forward(Chunk(b"ab", 0))]
    assert talk.eof(at=2) == [Began(2), Wake(2.5)]
    assert talk.due(at=2.5) == [Ended("passed"), Forward(Eof(2))]


def test_no_delay_has_no_effect() -> None:
    assert Conversation(SlowClose()).eof(at=1) == [Forward(Eof(0))]


def test_removal_lets_the_end_go_at_once_and_only_once() -> None:
    talk = Conversation(SlowClose(delay=500))
    assert talk.removed(at=1) == []
    talk.eof(at=2)
    assert talk.removed(at=2.1) == [Ended("removed"), Forward(Eof(0))]
    assert talk.due(at=2.5) == []


def test_a_change_counts_from_when_the_end_came() -> None:
    talk = Conversation(SlowClose(delay=500))
    assert talk.updated(SlowClose(delay=100), at=1) == []
    talk.eof(at=2)
    assert talk.updated(SlowClose(delay=300), at=2.01) == [Wake(2.3)]
