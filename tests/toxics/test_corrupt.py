from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seism.toxics.base import Began, Chunk, Ended, Eof, Forward, Wake
from seism.toxics.corrupt import Corrupt
from tests.toxics.conversation import Conversation


@given(
    data=st.binary(min_size=1, max_size=50), bits=st.integers(1, 20), seed=st.integers(0, 99)
)  # fmt: skip
def test_flip_changes_so_many_bits_at_most_and_no_length(data: bytes, bits: int, seed: int) -> None:
    talk = Conversation(Corrupt(kind="flip", chance=1, bits=bits), seed)
    talk.data(data, at=1)
    got = talk.forwarded
    assert len(got) == len(data)
    changed = sum((a ^ b).bit_count() for a, b in zip(got, data, strict=True))
    assert changed <= bits
    assert (bits - changed) % 2 == 0
    assert talk.outcomes == ["changed" if changed else "passed"]


def test_drop() -> None:
    talk = Conversation(Corrupt(kind="drop", chance=1))
    assert talk.data(b"ab", at=1) == [Began(0), Ended("lost")]
    assert talk.eof(at=1) == [Forward(Eof(2))]


def test_duplicate() -> None:
    twice = Forward(Chunk(b"ab", 0))
    talk = Conversation(Corrupt(kind="duplicate", chance=1))
    assert talk.data(b"ab", at=1) == [Began(0), twice, twice, Ended("changed")]


def test_reorder_lets_the_next_chunk_overtake() -> None:
    talk = Conversation(Corrupt(kind="reorder", chance=1, wait=250))
    assert talk.data(b"ab", at=1) == [Began(0), Wake(1.25)]
    assert talk.stage.held == 2
    assert talk.data(b"c", at=1.125) == [
        Forward(Chunk(b"c", 2)), Forward(Chunk(b"ab", 0)), Ended("changed"),
    ]  # fmt: skip
    assert talk.due(at=1.25) == []
    assert talk.stage.held == 0


def test_a_chunk_that_nothing_overtakes_goes_on_after_the_wait() -> None:
    talk = Conversation(Corrupt(kind="reorder", chance=1, wait=250))
    talk.data(b"ab", at=1)
    assert talk.updated(Corrupt(kind="flip", wait=500), at=1) == [Wake(1.5)]
    assert talk.due(at=1.5) == [Forward(Chunk(b"ab", 0)), Ended("passed")]
    talk = Conversation(Corrupt(kind="reorder", chance=1))
    talk.data(b"ab", at=1)
    assert talk.eof(at=1) == [Forward(Chunk(b"ab", 0)), Ended("passed"), Forward(Eof(2))]
    talk = Conversation(Corrupt(kind="reorder", chance=1))
    talk.data(b"ab", at=1)
    assert talk.removed(at=1) == [Forward(Chunk(b"ab", 0)), Ended("removed")]


@pytest.mark.parametrize("kind", ["flip", "drop", "duplicate", "reorder"])
def test_only_so_many_chunks_are_affected(kind: str) -> None:
    talk = Conversation(Corrupt(kind=kind, chance=0.2), seed=2)
    for _ in range(1000):
        talk.data(b"x", at=1)
    counted = Counter(talk.outcomes)
    assert 130 < counted.total() < 270
    assert set(counted) == {"lost" if kind == "drop" else "changed"}
