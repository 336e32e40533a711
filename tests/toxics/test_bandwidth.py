from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seism.toxics.bandwidth import TICK, Bandwidth
from seism.toxics.base import Began, Chunk, Command, Ended, Eof, Forward, Wake
from tests.toxics.conversation import Conversation


def run(talk: Conversation, *, until: float, now: float = 0.0) -> list[tuple[float, int]]:
    """Wakes the stage whenever it wants; (time, bytes) of each piece."""
    pieces: list[tuple[float, int]] = []
    wake = wake_of(talk.commands)
    while wake is not None and wake <= until:
        now = wake
        commands = talk.due(at=now)
        pieces += [
            (now, len(command.item.data))
            for command in commands
            if isinstance(command, Forward) and isinstance(command.item, Chunk)
        ]
        wake = wake_of(commands)
    return pieces


def wake_of(commands: list[Command]) -> float | None:
    return next((each.at for each in reversed(commands) if isinstance(each, Wake)), None)


def test_the_rate_is_kept_and_the_flow_is_even() -> None:
    talk = Conversation(Bandwidth(rate=100))
    talk.data(bytes(50_000), at=0)
    pieces = run(talk, until=10)
    assert sum(size for _, size in pieces) == 50_000
    assert pieces[-1][0] == pytest.approx(0.5)
    assert all(after - before <= TICK + 1e-9 for (before, _), (after, _) in pairwise(pieces))
    assert talk.outcomes == ["passed"]


def test_a_late_call_costs_no_rate() -> None:
    talk = Conversation(Bandwidth(rate=100))
    talk.data(bytes(50_000), at=0)
    commands = talk.due(at=0.2001)
    assert sum(len(c.item.data) for c in commands if isinstance(c, Forward)) == 20_000  # type: ignore[union-attr]


def test_zero_holds_everything_and_a_new_rate_lets_it_go() -> None:
    talk = Conversation(Bandwidth())
    assert talk.data(b"abc", at=0) == [Began(0)]
    assert talk.eof(at=1) == []
    (wake,) = talk.updated(Bandwidth(rate=1), at=5)
    assert wake == Wake(pytest.approx(5.003))
    assert talk.due(at=5.003) == [Forward(Chunk(b"abc", 0)), Ended("passed"), Forward(Eof(3))]


def test_a_rate_of_zero_stops_what_is_on_its_way() -> None:
    talk = Conversation(Bandwidth(rate=1))
    talk.data(bytes(500), at=0)
    assert talk.updated(Bandwidth(), at=0.001) == []
    assert talk.due(at=1) == []


def test_removal_flushes_the_rest() -> None:
    talk = Conversation(Bandwidth(rate=1))
    talk.data(b"a" * 100, at=0)
    talk.due(at=0.064)
    talk.eof(at=0.07)
    assert talk.removed(at=0.08) == [
        Forward(Chunk(b"a" * 36, 64)), Ended("removed"), Forward(Eof(100)),
    ]  # fmt: skip
    assert talk.stage.held == 0


def test_it_wants_no_more_than_it_can_use_soon() -> None:
    talk = Conversation(Bandwidth(rate=10))
    talk.data(bytes(60_000), at=0)
    assert not talk.stage.full
    talk.data(bytes(10_000), at=0)
    assert talk.stage.full
    run(talk, until=2)
    assert not talk.stage.full


def test_connections_share_a_line_fairly() -> None:
    toxic = Bandwidth(rate=100, shared=True)
    line = toxic.common()
    talks = [Conversation(toxic), Conversation(toxic)]
    for talk in talks:
        talk.stage.common = line
        talk.data(bytes(50_000), at=0)
    passed = [0, 0]
    now = 0.0
    wakes = [wake_of(talk.commands) for talk in talks]
    while now < 0.5:
        which = min((0, 1), key=lambda each: wakes[each] or 9)
        now = wakes[which] or 9
        wakes[which] = wake_of(talks[which].due(at=now))
        passed[which] = len(talks[which].forwarded)
    assert sum(passed) == pytest.approx(50_000, abs=1000)
    assert abs(passed[0] - passed[1]) <= 1000


@given(
    rate=st.integers(1, 10**9),
    sizes=st.lists(st.integers(1, 65536), min_size=1, max_size=5),
    gaps=st.lists(st.floats(0, 1), min_size=5, max_size=5),
)
def test_never_faster_than_the_rate_and_every_byte_in_order(
    rate: int, sizes: list[int], gaps: list[float]
) -> None:
    talk = Conversation(Bandwidth(rate=rate))
    sent = b""
    now = 0.0
    total = 0
    for number, (size, gap) in enumerate(zip(sizes, gaps, strict=False)):
        data = bytes([number]) * size
        sent += data
        talk.data(data, at=now)
        total += sum(size for _, size in run(talk, until=now + gap))
        now += gap
        assert total <= rate * 1000 * now + 1
    talk.removed(at=now)
    assert talk.forwarded == sent


def test_a_stage_needs_no_generator() -> None:
    assert Bandwidth(rate=1).stage(Random(1)).held == 0
