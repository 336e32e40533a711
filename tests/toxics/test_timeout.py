from __future__ import annotations

from seism.toxics.base import Began, Chunk, Close, Ended, Eof, Forward, Wake
from seism.toxics.timeout import Timeout
from tests.toxics.conversation import Conversation


def test_drops_everything_and_closes_after_the_timeout() -> None:
    talk = Conversation(Timeout(timeout=200))
    assert talk.started(at=1) == [Wake(1.2)]
    assert talk.data(b"abc", at=1.1) == [Began(0)]
    assert talk.data(b"def", at=1.15) == []
    assert talk.due(at=1.2) == [Ended("closed"), Close()]
    assert talk.forwarded == b""


def test_zero_never_closes() -> None:
    talk = Conversation(Timeout())
    assert talk.started(at=1) == []
    assert talk.data(b"abc", at=1) == [Began(0)]


def test_an_idle_connection_is_closed_too_and_accounted_for() -> None:
    talk = Conversation(Timeout(timeout=200))
    talk.started(at=1)
    assert talk.due(at=1.2) == [Began(), Ended("closed"), Close()]


def test_the_end_of_stream_passes_and_the_dropped_bytes_are_lost() -> None:
    talk = Conversation(Timeout(timeout=200))
    talk.started(at=1)
    talk.data(b"abc", at=1)
    assert talk.eof(at=1.1) == [Ended("lost"), Forward(Eof(3))]
    assert talk.due(at=1.2) == [Began(), Ended("closed"), Close()]


def test_removal_closes() -> None:
    talk = Conversation(Timeout())
    talk.started(at=1)
    talk.data(b"abc", at=1)
    assert talk.removed(at=2) == [Ended("closed"), Close()]


def test_a_change_counts_from_the_same_start() -> None:
    talk = Conversation(Timeout(timeout=200))
    talk.started(at=1)
    assert talk.updated(Timeout(timeout=500), at=1.1) == [Wake(1.5)]
    assert talk.updated(Timeout(timeout=0), at=1.2) == []
    assert talk.due(at=1.5) == []


def test_idle_starts_anew_with_each_chunk() -> None:
    talk = Conversation(Timeout(timeout=250, idle=True))
    talk.started(at=1)
    assert talk.data(b"a", at=1.125) == [Wake(1.375), Began(0)]
    assert talk.data(b"b", at=1.25) == [Wake(1.5)]
    assert talk.due(at=1.5) == [Ended("closed"), Close()]


def test_data_can_flow_until_the_time_is_over() -> None:
    talk = Conversation(Timeout(timeout=250, flowing=True))
    talk.started(at=1)
    assert talk.data(b"a", at=1.1) == [Forward(Chunk(b"a", 0))]
    assert talk.due(at=1.25) == [Began(), Ended("closed"), Close()]


def test_removal_leaves_a_connection_whose_data_flowed() -> None:
    talk = Conversation(Timeout(timeout=250, flowing=True))
    talk.started(at=1)
    talk.data(b"a", at=1.1)
    assert talk.removed(at=1.2) == []


def test_a_stream_with_bytes_missing_never_flows_again() -> None:
    talk = Conversation(Timeout())
    talk.data(b"a", at=1)
    talk.updated(Timeout(flowing=True), at=2)
    assert talk.data(b"b", at=3) == []
    assert talk.removed(at=4) == [Ended("closed"), Close()]
