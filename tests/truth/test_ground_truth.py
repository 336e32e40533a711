"""Exact correlation against the truth: the payload, read behind the proxy by a tap.

2,000 requests, 32 at once, each sends its own id to a real backend while toxics come and
go. What the observers attributed to each perturbation must be the requests whose ids are in
the very bytes that were perturbed.
"""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from seism.demo.backends import Backends
from tests.processes import app, process, settled, sidecar
from tests.truth.measure import REQUESTS, collect, drive, wrong


@pytest.fixture(scope="module")
def backends() -> Iterator[dict[str, str]]:
    with Backends() as started:
        yield started.addresses


@pytest.mark.parametrize(
    ("client", "kind", "backend"),
    [
        ("redis", "wsgi", "cache"),
        ("pg8000", "wsgi", "db"),
        ("asyncpg", "asgi", "db"),
        ("redis-asyncio", "asgi", "cache"),
    ],
)
@pytest.mark.timeout(180)
def test_every_attribution_is_right(
    client: str, kind: str, backend: str, backends: dict[str, str], tmp_path: Path
) -> None:
    journal = tmp_path / "journal.jsonl"
    taps = tmp_path / "taps"
    taps.mkdir()
    with process(
        *(sys.executable, "-m", "tests.truth.tap", backends[backend], str(taps)),
        stdout=subprocess.PIPE,
    ) as tap:
        assert tap.stdout is not None
        upstream = f"127.0.0.1:{int(tap.stdout.readline())}"
        with sidecar(journal) as control:
            proxy = control.call("POST", "/proxies", {"name": "backend", "upstream": upstream})
            environ = {"CLIENT": client, "BACKEND": proxy["listen"]}
            with app(kind, f"tests.truth.{kind}_app", control, **environ) as (port, _):
                statuses = drive(port, control)
                settled(lambda: journal.stat().st_size)
    assert sum(statuses.values()) == REQUESTS
    perturbed, blind = collect(journal, taps)
    evidence = Counter(
        attribution.evidence for item in perturbed for attribution in item.attributions
    )
    print(f"{client}: {len(perturbed)} perturbations with ids, {blind} without, {dict(evidence)}")

    assert len(perturbed) >= 200, statuses
    assert set(evidence) == {"ledger"}
    assert all(
        attribution.exact and attribution.role == "hit"
        for item in perturbed
        for attribution in item.attributions
    )
    assert wrong(perturbed) == 0

    keys = sorted({key for item in perturbed for key in item.truth})
    shuffled = dict(zip(keys, random.Random(1).sample(keys, len(keys)), strict=True))
    assert wrong(perturbed, shuffled) > 0.9 * len(perturbed)
