from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from seism.toxics.base import Began, Chunk, Ended, Eof, Forward, Wake
from seism.toxics.stall import Stall
from tests.toxics.conversation import Conversation


def test_each_further_loss_doubles_the_pause_and_the_order_stays() -> None:
    talk = Conversation(Stall(chance=1, timeout=250, losses=2))
    assert talk.data(b"a", at=1) == [Began(0), Wake(1.75)]
    assert talk.data(b"b", at=1.5) == []
    assert talk.eof(at=1.5) == []
    assert talk.due(at=1.75) == [Forward(Chunk(b"a", 0)), Wake(2.5)]
    assert talk.due(at=2.5) == [Forward(Chunk(b"b", 1)), Ended("passed"), Forward(Eof(2))]


def test_without_a_loss_nothing_waits() -> None:
    talk = Conversation(Stall(chance=0))
    assert talk.data(b"a", at=1) == [Forward(Chunk(b"a", 0))]


def test_a_change_reaches_what_waits_and_removal_lets_it_go() -> None:
    talk = Conversation(Stall(chance=1, timeout=3_600_000, losses=15))
    talk.data(b"a", at=1)
    assert talk.updated(Stall(chance=0, timeout=0), at=2) == [Wake(1)]
    assert talk.removed(at=2) == [Forward(Chunk(b"a", 0)), Ended("removed")]


def test_losses_come_as_often_as_they_should() -> None:
    talk = Conversation(Stall(chance=0.25, timeout=1), seed=3)
    for number in range(1000):
        talk.data(b"a", at=number)
        if talk.stage.held:
            talk.due(at=number + 0.9)
    assert 200 < len(talk.outcomes) < 300


@given(chance=st.floats(0, 1), seed=st.integers(0, 99), count=st.integers(1, 20))
def test_no_byte_is_lost_or_overtaken(chance: float, seed: int, count: int) -> None:
    talk = Conversation(Stall(chance=chance, timeout=10), seed)
    for number in range(count):
        talk.data(bytes([number]), at=0)
    if talk.stage.held:
        talk.due(at=3_600.0 * count)
    assert talk.forwarded == bytes(range(count))
    assert set(talk.outcomes) <= {"passed"}
