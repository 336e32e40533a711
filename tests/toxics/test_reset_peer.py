from __future__ import annotations

from seism.toxics.base import Began, Ended, Reset, Wake
from seism.toxics.reset_peer import ResetPeer
from tests.toxics.conversation import Conversation


def test_waits_for_the_first_byte() -> None:
    talk = Conversation(ResetPeer())
    assert talk.started(at=1) == []
    assert talk.data(b"a", at=2) == [Began(0), Ended("reset"), Reset()]


def test_the_end_of_stream_lights_it_too() -> None:
    assert Conversation(ResetPeer()).eof(at=2) == [Began(0), Ended("reset"), Reset()]


def test_waits_for_its_timeout_and_drops_what_comes_meanwhile() -> None:
    talk = Conversation(ResetPeer(timeout=300))
    assert talk.data(b"a", at=2) == [Began(0), Wake(2.3)]
    assert talk.data(b"b", at=2.1) == []
    assert talk.eof(at=2.2) == []
    assert talk.due(at=2.3) == [Ended("reset"), Reset()]
    assert talk.forwarded == b""


def test_a_change_counts_from_the_first_byte() -> None:
    talk = Conversation(ResetPeer(timeout=300))
    assert talk.updated(ResetPeer(timeout=200), at=1) == []
    talk.data(b"a", at=2)
    assert talk.updated(ResetPeer(timeout=100), at=2.05) == [Wake(2.1)]


def test_removal_resets_only_what_was_lit() -> None:
    unlit = Conversation(ResetPeer(timeout=300))
    assert unlit.removed(at=1) == []
    lit = Conversation(ResetPeer(timeout=300))
    lit.data(b"a", at=2)
    assert lit.removed(at=2.1) == [Ended("reset"), Reset()]
