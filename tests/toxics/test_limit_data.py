from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from seism.toxics.base import Began, Chunk, Ended, Eof, Forward
from seism.toxics.limit_data import LimitData
from tests.toxics.conversation import Conversation

END = "closed"


def closing(offset: int) -> Forward:
    return Forward(Eof(offset, closes=True))


def test_exactly_so_many_bytes_pass() -> None:
    talk = Conversation(LimitData(bytes=5))
    assert talk.data(b"abc", at=1) == [Forward(Chunk(b"abc", 0))]
    assert talk.data(b"defg", at=2) == [
        Forward(Chunk(b"de", 3)), Began(5), Ended(END), closing(5),
    ]  # fmt: skip
    assert talk.data(b"h", at=3) == []
    assert talk.eof(at=3) == []


def test_zero_closes_on_the_first_byte() -> None:
    talk = Conversation(LimitData())
    assert talk.started(at=0) == []
    assert talk.data(b"abc", at=1) == [Began(0), Ended(END), closing(0)]


def test_an_end_before_the_limit_passes() -> None:
    talk = Conversation(LimitData(bytes=5))
    talk.data(b"abc", at=1)
    assert talk.eof(at=2) == [Forward(Eof(3))]


def test_the_count_survives_changes_and_removal_lets_all_flow_on() -> None:
    talk = Conversation(LimitData(bytes=5))
    talk.data(b"abc", at=1)
    assert talk.updated(LimitData(bytes=4), at=1) == []
    assert talk.removed(at=1) == []
    assert talk.data(b"de", at=2) == [Forward(Chunk(b"d", 3)), Began(4), Ended(END), closing(4)]


def test_a_limit_that_was_reached_before_closes_at_once() -> None:
    talk = Conversation(LimitData(bytes=5))
    talk.data(b"abc", at=1)
    assert talk.updated(LimitData(bytes=2), at=1) == [Began(3), Ended(END), closing(3)]
    assert talk.updated(LimitData(bytes=1), at=1) == []


@given(st.lists(st.binary(min_size=1, max_size=20), max_size=8), st.integers(0, 60))
def test_any_chunking_gives_the_same_prefix(chunks: list[bytes], limit: int) -> None:
    talk = Conversation(LimitData(bytes=limit))
    for chunk in chunks:
        talk.data(chunk, at=1)
    sent = b"".join(chunks)
    assert talk.forwarded == sent[:limit]
    assert talk.outcomes == ([END] if sent and len(sent) >= limit else [])
