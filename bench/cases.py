"""The measurements: each case is one function from a contestant to its figures."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from bench.contestants import DIRECT, HAPROXY, LOAD, PURE, SEISM, Contestant, process
from bench.figures import quantile

Figures = dict[str, float]
"""By name, with the unit in it."""

MESSAGE = 64
"""Bytes of a request and of its reply."""
BURST_SECONDS = 0.25
"""Longer ones run out of ports, which wait for a minute each, and all look alike."""
MIB = 1024 * 1024


@dataclass(frozen=True)
class Case:
    """``measure(contestant, seconds)`` runs it once; ``only`` names who takes part."""

    name: str
    title: str
    measure: Callable[[Contestant, float], Figures]
    only: tuple[str, ...] = ()


@contextlib.contextmanager
def running(mode: str, address: str, **options: float) -> Iterator[Callable[[], dict[str, Any]]]:
    """The load generator, started; what is yielded waits for its result."""
    words = [str(word) for key, value in options.items() for word in (f"--{key}", value)]
    child = subprocess.Popen([str(LOAD), mode, address, *words], stdout=subprocess.PIPE)

    def result() -> dict[str, Any]:
        out, _ = child.communicate()
        if child.returncode:
            raise RuntimeError(f"load {mode} {address} ended with {child.returncode}")
        found: dict[str, Any] = json.loads(out)
        return found

    try:
        yield result
    finally:
        if child.returncode is None:
            child.kill()
            child.communicate()


def load(mode: str, address: str, **options: float) -> dict[str, Any]:
    with running(mode, address, **options) as result:
        return result()


def _latency(result: dict[str, Any]) -> Figures:
    return {f"p{q} µs": quantile(result["histogram"], q / 100) / 1e3 for q in (50, 99)}


def _cpu(result: dict[str, Any], name: str, per: float, unit: float) -> Figures:
    if result["cpu_ns"] < 0:
        return {}
    return {name: result["cpu_ns"] / unit / per if per else float("nan")}


def ping(connections: int, contestant: Contestant, seconds: float) -> Figures:
    result = load(
        "ping", contestant.address, connections=connections, size=MESSAGE,
        seconds=seconds, pid=contestant.pid,
    )  # fmt: skip
    return {
        "requests/s": result["messages"] / result["seconds"],
        **_latency(result),
        **_cpu(result, "CPU µs per round trip", result["messages"], 1e3),
    }


def ping_observed(contestant: Contestant, seconds: float) -> Figures:
    assert contestant.control is not None
    control = contestant.control
    with process(sys.executable, "-m", "bench.observer", f"{control.host}:{control.port}"):
        return ping(64, contestant, seconds)


def ping_pinned(contestant: Contestant, seconds: float) -> Figures:
    """The proxy on the last core; the others go where they are put."""
    cores = os.sched_getaffinity(contestant.pid)
    os.sched_setaffinity(contestant.pid, {max(cores)})
    try:
        return ping(64, contestant, seconds)
    finally:
        os.sched_setaffinity(contestant.pid, cores)


def burst(contestant: Contestant, seconds: float) -> Figures:
    result = load(
        "burst", contestant.address, connections=32,
        seconds=min(seconds, BURST_SECONDS), pid=contestant.pid,
    )  # fmt: skip
    return {
        "connections/s": result["messages"] / result["seconds"],
        **_cpu(result, "CPU µs per connection", result["messages"], 1e3),
    }


def bulk(mode: str, connections: int, contestant: Contestant, seconds: float) -> Figures:
    result = load(
        mode, contestant.address, connections=connections, seconds=seconds, pid=contestant.pid
    )
    return {
        "MiB/s": result["bytes"] / MIB / result["seconds"],
        **_cpu(result, "CPU s per GiB", result["bytes"] / MIB / 1024, 1e9),
    }


def beside(contestant: Contestant, seconds: float) -> Figures:
    """500 requests per second while eight downloads take what they get."""
    with running("down", contestant.address, connections=8, seconds=seconds + 0.5) as bulk_result:
        figures = _latency(
            load("pace", contestant.address, connections=8, rate=500, seconds=seconds)
        )
        down = bulk_result()
    return {**figures, "bulk MiB/s": down["bytes"] / MIB / down["seconds"]}


def delayed(delay_ms: int, rate: int, transfer: bool, who: Contestant, seconds: float) -> Figures:
    """The error of an injected latency, or what a direct connection takes."""
    address, injected = who.address, 0
    with contextlib.ExitStack() as stack:
        if who.control is not None:
            address, injected = who.delayed, delay_ms
            who.control.add_toxic("delayed", {
                "name": "bench", "type": "latency", "stream": "upstream",
                "attributes": {"latency": delay_ms},
            })  # fmt: skip
            stack.callback(who.control.remove_toxic, "delayed", "bench")
        if transfer:
            stack.enter_context(running("down", who.address, seconds=seconds + 0.5))
        result = load(
            "pace", address, connections=8, rate=rate, size=MESSAGE, seconds=seconds,
            delay=injected,
        )  # fmt: skip
    return _latency(result)


def _delays() -> Iterator[Case]:
    for transfer in (False, True):
        for rate in (200, 2000):
            for delay in (1, 10, 100):
                yield Case(
                    f"delay-{delay}-{rate}" + ("-transfer" if transfer else ""),
                    f"error of {delay} ms at {rate:,}/s" + (", transfer beside" * transfer),
                    partial(delayed, delay, rate, transfer),
                    (DIRECT, SEISM),
                )


CASES = (
    *(
        Case(f"ping-{n}", f"{n} connection{'s' * (n > 1)}", partial(ping, n))
        for n in (1, 16, 64, 256)
    ),
    Case("observer", "64, an observer attached", ping_observed, (SEISM, PURE)),
    Case("pinned", "64, the proxy on one core", ping_pinned, (SEISM, PURE, HAPROXY)),
    Case("burst", "connections, in bursts", burst),
    Case("up-1", "bulk up, 1 connection", partial(bulk, "up", 1)),
    Case("down-8", "bulk down, 8 connections", partial(bulk, "down", 8)),
    Case("beside", "500 requests/s beside 8 downloads", beside),
    *_delays(),
)
