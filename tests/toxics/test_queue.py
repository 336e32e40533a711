from __future__ import annotations

from collections.abc import Callable

import pytest

from seism.toxics.bandwidth import Bandwidth
from seism.toxics.base import Chunk, Ended, Forward, Toxic, Wake
from seism.toxics.latency import Latency
from seism.toxics.queue import BURST, ENOUGH, Queue
from seism.toxics.stall import Stall
from tests.toxics.conversation import Conversation


@pytest.mark.parametrize(
    "make",
    [
        lambda: Latency(latency=10),
        lambda: Stall(chance=1, timeout=1, losses=1),
        lambda: Bandwidth(rate=1000),
    ],
    ids=["latency", "stall", "bandwidth"],
)
def test_many_that_are_due_go_in_turns(make: Callable[[], Toxic]) -> None:
    talk = Conversation(make())
    for number in range(BURST + 1):
        talk.data(bytes([number]), at=0)
    first = talk.due(at=1)
    assert len(first) == BURST + 1
    assert first[-1] == Wake(1)
    assert talk.due(at=1)[-1] == Ended("passed")
    assert talk.forwarded == bytes(range(BURST + 1))


def test_what_is_let_go_at_once_goes_in_large_pieces() -> None:
    talk = Conversation(Latency(latency=10))
    for _ in range(100):
        talk.data(b"x" * 1000, at=0)
    pieces = [each.item for each in talk.removed(at=0) if isinstance(each, Forward)]
    assert len(pieces) == 2
    assert [piece.offset for piece in pieces] == [0, ENOUGH // 1000 * 1000 + 1000]
    assert talk.forwarded == b"x" * 100_000


def test_pieces_that_do_not_follow_each_other_stay_apart() -> None:
    queue: Queue[None] = Queue()
    for offset in (0, 2, 9):
        list(queue.hold(None, Chunk(b"ab", offset)))
    assert [each.item for each in queue.removed(0) if isinstance(each, Forward)] == [
        Chunk(b"abab", 0), Chunk(b"ab", 9),
    ]  # fmt: skip
