"""Consumers in an app whose requests use no backend: some come back, others do not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from seism.demo.backends import Backends
from seism.verdict.result import GREEN, RED
from tests.harm.lab import Lab, blamed

pytestmark = pytest.mark.timeout(200)

# A blocking read lasts 0.3 s: what is to hit one is in force for longer, not for ten requests.
STEPS = """\
name = "restart"
type = "restart"
[[perturbation]]
backend = "store"
name = "half-open"
type = "half_open"
lasting = 0.5
unit = "seconds"
[[perturbation]]
backend = "store"
name = "down"
type = "down"
lasting = 0.5
unit = "seconds"
[[perturbation]]
backend = "store"
name = "late"
type = "latency"
attributes = { latency = 100 }
lasting = 1.0
unit = "seconds"
"""
LOAD = "workers = 1\nsteady = 20\nduring = 10\nafter = 5\npause_ms = 20"
RULES = "background_recover_s = 3"
CONSUMERS = {
    "blpop": ("cache", "redis", "BLPOP", {"restart", "half-open", "down"}),
    "pubsub": ("cache", "redis", "SUBSCRIBE", {"half-open"}),
    "reader": ("cache", "redis", "XREAD", {"restart", "half-open", "down"}),
    "listen": ("db", "postgresql", "LISTEN orders", {"half-open"}),
}
"""What -> backend, protocol, how it is shown, what the sick one does not survive."""


@pytest.fixture(scope="module")
def backends() -> Iterator[dict[str, str]]:
    with Backends(schema=()) as running:
        yield dict(running.addresses)


@pytest.mark.parametrize("sick", [True, False])
@pytest.mark.parametrize("what", CONSUMERS)
def test_a_consumer(tmp_path: Path, backends: dict[str, str], what: str, sick: bool) -> None:
    backend, protocol, shown, dies_of = CONSUMERS[what]
    lab = Lab(
        "listener_app",
        backends[backend],
        STEPS,
        env={"WHAT": what, "SICK": "1" if sick else ""},
        load=LOAD,
        routes=("/",),
        rules=RULES,
        protocol=protocol,
    )
    judgement = lab.judge(tmp_path)
    assert judgement.steady.met, judgement.steady.reason
    row = judgement.matrix[f"consumer {shown} on store"]
    lost = dies_of if sick else set()
    assert {name for name, colour in row.items() if colour == RED} == lost
    for name in {"restart", "half-open", "down"} - lost:
        cell = judgement.cell(f"consumer {shown} on store", name)
        assert cell is not None and cell.colour == GREEN, cell
        assert cell.notes[0].startswith("there again within")
    for name in lost:
        cell = judgement.cell(f"consumer {shown} on store", name)
        assert cell is not None
        words = f"the consumer of `{shown}` on store did not come back after {name}"
        assert cell.reasons[0].startswith(words)
    # One that only listens sends nothing that could be late.
    assert judgement.never_fired == () or (sick and judgement.never_fired == ("late",))
    assert sick or blamed(judgement) == []
    assert judgement.exit_code() == (1 if sick else 0)
