from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seism.toxics.base import HOUR_MS, Began, Chunk, Ended, Eof, Forward, Wake
from seism.toxics.latency import Latency
from tests.toxics.conversation import Conversation


def test_each_chunk_waits_from_its_own_receipt_in_one_stretch() -> None:
    talk = Conversation(Latency(latency=125))
    assert talk.started(at=0) == []
    assert talk.data(b"abc", at=1.0) == [Began(0), Wake(1.125)]
    assert talk.data(b"de", at=1.0625) == []
    assert talk.due(at=1.125) == [Forward(Chunk(b"abc", 0)), Wake(1.1875)]
    assert talk.due(at=1.1875) == [Forward(Chunk(b"de", 3)), Ended("passed")]


def test_an_exchange_after_the_queue_was_empty_is_another_stretch() -> None:
    talk = Conversation(Latency(latency=10))
    talk.data(b"ab", at=1)
    talk.due(at=1.01)
    assert talk.data(b"c", at=2) == [Began(2), Wake(2.01)]


def test_no_delay_has_no_effect() -> None:
    talk = Conversation(Latency())
    assert talk.data(b"a", at=1) == [Forward(Chunk(b"a", 0))]


def test_the_end_of_stream_waits_for_the_bytes_and_no_longer() -> None:
    talk = Conversation(Latency(latency=100))
    talk.data(b"a", at=1)
    assert talk.eof(at=1.09) == []
    assert talk.due(at=1.1) == [Forward(Chunk(b"a", 0)), Ended("passed"), Forward(Eof(1))]
    assert Conversation(Latency(latency=100)).eof(at=1) == [Forward(Eof(0))]


def test_removal_lets_everything_go_at_once() -> None:
    talk = Conversation(Latency(latency=100))
    talk.data(b"a", at=1)
    talk.data(b"b", at=1)
    talk.eof(at=1)
    assert talk.removed(at=1.01) == [
        Forward(Chunk(b"ab", 0)),
        Ended("removed"),
        Forward(Eof(2)),
    ]


def test_removal_with_nothing_held_says_nothing() -> None:
    assert Conversation(Latency(latency=100)).removed(at=1) == []


def test_a_change_reaches_what_is_held() -> None:
    talk = Conversation(Latency(latency=60_000))
    talk.data(b"a", at=1)
    assert talk.updated(Latency(latency=50), at=2) == [Wake(1.05)]
    assert talk.due(at=2) == [Forward(Chunk(b"a", 0)), Ended("passed")]


def test_a_due_that_comes_early_sets_the_time_again() -> None:
    talk = Conversation(Latency(latency=100))
    talk.data(b"a", at=1)
    assert talk.due(at=1.0999) == [Wake(1.1)]


def test_what_is_held_is_counted_and_given_back() -> None:
    talk = Conversation(Latency(latency=100))
    talk.data(b"a" * 1000, at=1)
    talk.data(b"b", at=1)
    assert talk.stage.held > 1001
    talk.due(at=1.1)
    assert talk.stage.held == 0


@given(
    latency=st.integers(0, 500),
    jitter=st.integers(0, 1000),
    gaps=st.lists(st.floats(0, 0.3), min_size=1, max_size=20),
    seed=st.integers(0, 99),
)
def test_jitter_keeps_order_and_range(
    latency: int, jitter: int, gaps: list[float], seed: int
) -> None:
    talk = Conversation(Latency(latency, jitter), seed)
    now, sent = 0.0, b""
    for number, gap in enumerate(gaps):
        now += gap
        sent += bytes([number])
        before = len(talk.commands)
        talk.data(bytes([number]), at=now)
        wakes = [each.at for each in talk.commands[before:] if isinstance(each, Wake)]
        assert all(now <= at <= now + (latency + jitter) / 1000 + 1e-9 for at in wakes)
    if talk.stage.held:
        talk.due(at=now + (latency + jitter) / 1000 + 1e-9)
    assert talk.forwarded == sent
    assert set(talk.outcomes) <= {"passed"}
    begun = sum(isinstance(command, Began) for command in talk.commands)
    assert begun == len(talk.outcomes)


def test_jitter_is_uniform_about_the_latency() -> None:
    delays = []
    for seed in range(400):
        commands = Conversation(Latency(100, 50), seed).data(b"x", at=0)
        delays.append(next(each.at for each in commands if isinstance(each, Wake)))
    assert all(0.05 <= delay < 0.15 for delay in delays)
    quarters = [sum(low <= delay < low + 0.025 for delay in delays)
                for low in (0.05, 0.075, 0.1, 0.125)]  # fmt: skip
    assert all(60 < quarter < 140 for quarter in quarters)


@pytest.mark.parametrize("distribution", ["uniform", "normal", "pareto", "lognormal"])
def test_every_distribution_has_the_latency_as_its_mean(distribution: str) -> None:
    delays = []
    for seed in range(2000):
        toxic = Latency(10_000, 1000, distribution)
        commands = Conversation(toxic, seed).data(b"x", at=0)
        delays.append(next(each.at for each in commands if isinstance(each, Wake)))
    assert statistics.mean(delays) == pytest.approx(10, abs=0.15)
    deviation = 1 / math.sqrt(3) if distribution == "uniform" else 1.0
    assert statistics.stdev(delays) == pytest.approx(deviation, rel=0.35)
    skewed = statistics.median(delays) < 9.9
    assert skewed == (distribution in ("pareto", "lognormal"))


@given(st.sampled_from(["normal", "pareto", "lognormal"]), st.integers(0, 10_000))
def test_no_delay_is_negative_or_endless(distribution: str, seed: int) -> None:
    talk = Conversation(Latency(HOUR_MS, HOUR_MS, distribution), seed)
    for command in talk.data(b"x", at=0):
        if isinstance(command, Wake):
            assert 0 < command.at <= HOUR_MS / 1000
