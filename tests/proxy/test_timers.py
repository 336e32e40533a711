from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from seism.clock import MonotonicClock
from seism.proxy.alarm import LoopAlarm, TimerfdAlarm
from seism.proxy.timers import Timers
from tests.proxy.harness import GeventThread, eventually
from tests.timing import within


@pytest.fixture
def thread() -> Iterator[GeventThread]:
    with GeventThread() as found:
        yield found


@pytest.fixture
def timers(thread: GeventThread) -> Iterator[Timers]:
    made = thread.call(lambda: Timers(thread.loop, MonotonicClock()))
    yield made
    thread.call(made.close)


def test_calls_come_in_the_order_of_their_times(thread: GeventThread, timers: Timers) -> None:
    calls: list[tuple[str, float]] = []

    def start() -> None:
        now = time.monotonic()
        for name, delay in (("b", 0.06), ("a", 0.03), ("now", -1.0), ("never", 0.04)):
            timer = timers.at(
                now + delay, lambda name=name: calls.append((name, time.monotonic() - now))
            )
            if name == "never":
                timer.cancel()
                timer.cancel()

    thread.call(start)
    eventually(lambda: len(calls) == 3)
    assert [name for name, _ in calls] == ["now", "a", "b"]
    assert within(calls[1][1], 0.03) and within(calls[2][1], 0.06)


def test_a_failing_callback_is_logged_and_the_next_is_called(
    thread: GeventThread, timers: Timers, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[int] = []

    def start() -> None:
        timers.at(0, lambda: 1 // 0)  # type: ignore[arg-type, return-value]
        timers.at(time.monotonic() + 0.001, lambda: calls.append(1))

    thread.call(start)
    eventually(lambda: calls)
    assert "ZeroDivisionError" in caplog.text


def test_cancelled_timers_do_not_pile_up(thread: GeventThread, timers: Timers) -> None:
    def churn() -> int:
        hour = time.monotonic() + 3600
        for _ in range(1000):
            timers.at(hour, lambda: None).cancel()
        return len(timers)

    assert thread.call(churn) < 200


@pytest.mark.parametrize("kind", [LoopAlarm, TimerfdAlarm])
def test_an_alarm_rings_once_at_the_time_set_last(
    thread: GeventThread, kind: type[LoopAlarm] | type[TimerfdAlarm]
) -> None:
    rings: list[float] = []
    began = time.monotonic()

    def start() -> LoopAlarm | TimerfdAlarm:
        alarm = kind(thread.loop, lambda: rings.append(time.monotonic() - began))
        alarm.set(3600)
        alarm.set(0.03)
        return alarm

    alarm = thread.call(start)
    eventually(lambda: rings)
    assert within(rings[0], 0.03)
    thread.call(alarm.set, 0)
    eventually(lambda: len(rings) == 2)
    thread.call(alarm.set, 0.01)
    thread.call(alarm.close)
    thread.call(alarm.close)
    assert len(rings) == 2
