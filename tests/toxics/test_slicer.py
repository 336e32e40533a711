from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seism.errors import ConfigurationError
from seism.options import build
from seism.toxics.base import Began, Chunk, Ended, Eof, Forward, Wake
from seism.toxics.queue import BURST
from seism.toxics.slicer import Slicer
from tests.toxics.conversation import Conversation


def test_cuts_and_pauses_after_each_piece() -> None:
    talk = Conversation(Slicer(average_size=2, delay=250_000))
    assert talk.data(b"abcde", at=1) == [Began(0), Forward(Chunk(b"ab", 0)), Wake(1.25)]
    assert talk.due(at=1.25) == [Forward(Chunk(b"cd", 2)), Wake(1.5)]
    assert talk.due(at=1.5) == [Forward(Chunk(b"e", 4)), Ended("passed")]
    # The pause after the last piece holds the next chunk.
    assert talk.data(b"f", at=1.625) == [Began(5), Wake(1.75)]
    assert talk.eof(at=1.6875) == []
    assert talk.due(at=1.75) == [Forward(Chunk(b"f", 5)), Ended("passed"), Forward(Eof(6))]


def test_what_is_small_and_comes_after_the_pause_passes_untouched() -> None:
    talk = Conversation(Slicer(average_size=4, delay=1000))
    assert talk.data(b"abcd", at=1) == [Forward(Chunk(b"abcd", 0))]
    assert talk.data(b"efgh", at=2) == [Forward(Chunk(b"efgh", 4))]


def test_without_a_pause_pieces_go_at_once_but_others_have_their_turn() -> None:
    talk = Conversation(Slicer(average_size=1))
    first = talk.data(b"x" * (BURST + 1), at=1)
    assert sum(isinstance(command, Forward) for command in first) == BURST
    assert first[-1] == Wake(1)
    assert talk.due(at=1) == [Forward(Chunk(b"x", BURST)), Ended("passed")]


def test_removal_sends_the_rest_of_the_chunk_whole() -> None:
    talk = Conversation(Slicer(average_size=2, delay=1000))
    talk.data(b"abcdefg", at=1)
    assert talk.removed(at=1) == [Forward(Chunk(b"cdefg", 2)), Ended("removed")]
    assert talk.stage.held == 0


def test_a_change_reaches_the_rest() -> None:
    talk = Conversation(Slicer(average_size=2, delay=3_600_000_000))
    talk.data(b"abcdefg", at=1)
    assert talk.updated(Slicer(average_size=3, delay=0), at=2) == [Wake(1)]
    talk.due(at=2)
    assert talk.forwarded == b"abcdefg"


@given(
    data=st.binary(min_size=1, max_size=300),
    average=st.integers(1, 50),
    variation=st.integers(0, 50),
    seed=st.integers(0, 9),
)
def test_sizes_are_in_range_and_no_byte_is_lost(
    data: bytes, average: int, variation: int, seed: int
) -> None:
    variation = min(average, variation)
    talk = Conversation(Slicer(average, variation, delay=10), seed)
    now = 0.0
    talk.data(data, at=now)
    while talk.stage.held:
        now += 1
        talk.due(at=now)
    assert talk.forwarded == data
    sizes = [len(c.item.data) for c in talk.commands
             if isinstance(c, Forward) and isinstance(c.item, Chunk)]  # fmt: skip
    assert all(max(1, average - variation) <= size <= average + variation for size in sizes[:-1])
    assert 1 <= sizes[-1] <= average + variation


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "missing required key 'average_size' (1 to 1048576 B)"),
        ({"average_size": 0}, "average_size: 0 is not allowed, it must be 1 to 1048576 B"),
        ({"average_size": 5, "size_variation": 6},
         "size_variation: 6 is not allowed, it must be 0 to average_size (5) B"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(values: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        build(Slicer, values, "slicer")
    assert message in str(caught.value)
