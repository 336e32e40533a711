"""Exact correlation against the truth: the payload, read behind the proxy by a tap.

2,000 requests, 32 at once, each sends its own id to a real backend while toxics come and
go. What the observers linked to each perturbation must be the requests whose ids are in
the very bytes that were perturbed.
"""

from __future__ import annotations

import http.client
import random
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from seism.client import Control
from seism.demo.backends import Backends
from seism.journal import read
from seism_middleware.contract import Link, PerturbationBegan, PerturbationEnded
from tests.processes import app, process, settled, sidecar

REQUESTS = 2000
AT_ONCE = 32
KEY = re.compile(rb"<([0-9a-z]+-[0-9]+)>")


@dataclass(frozen=True)
class Perturbed:
    """One perturbation: which requests the payload names, and which were linked."""

    truth: frozenset[str]
    links: tuple[Link, ...]


def wrong(perturbed: list[Perturbed], renamed: Mapping[str, str] | None = None) -> int:
    """How many perturbations are linked to other requests than the payload names.

    ``renamed`` mixes up the ids of the truth, for the proof that this can fail.
    """
    renamed = renamed or {}
    return sum(
        {link.request for link in item.links} != {renamed.get(key, key) for key in item.truth}
        for item in perturbed
    )


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
def test_every_link_is_right(
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
    evidence = Counter(link.evidence for item in perturbed for link in item.links)
    print(f"{client}: {len(perturbed)} perturbations with ids, {blind} without, {dict(evidence)}")

    assert len(perturbed) >= 200, statuses
    assert set(evidence) == {"ledger"}
    assert all(link.exact and link.role == "hit" for item in perturbed for link in item.links)
    assert wrong(perturbed) == 0

    keys = sorted({key for item in perturbed for key in item.truth})
    shuffled = dict(zip(keys, random.Random(1).sample(keys, len(keys)), strict=True))
    assert wrong(perturbed, shuffled) > 0.9 * len(perturbed)


def drive(port: int, control: Control) -> Counter[int]:
    """Send the requests; meanwhile toxics come and go."""
    rng = random.Random(7)

    def disturb() -> None:
        toxic = {
            "name": "toxic",
            "type": "latency",
            "stream": "upstream",
            "toxicity": rng.choice([0.5, 1.0]),
            "attributes": {"latency": rng.choice([5, 20]), "jitter": rng.choice([0, 5])},
        }
        if rng.random() < 0.2:
            toxic |= {"type": "reset_peer", "attributes": {"timeout": 0}, "toxicity": 0.3}
        control.add_toxic("backend", toxic)
        for _ in range(rng.randint(1, 5)):
            time.sleep(0.02)
        control.remove_toxic("backend", "toxic")
        time.sleep(0.015)

    return Counter(status for status, _ in answers(port, REQUESTS, disturb))


def answers(port: int, count: int, meanwhile: Callable[[], None]) -> list[tuple[int, str]]:
    """Status and body of ``count`` requests, ``AT_ONCE`` at once; ``meanwhile`` is called again
    and again until they are through."""
    seen: list[tuple[int, str]] = []
    left = iter(range(count))
    lock = threading.Lock()

    def worker() -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            while True:
                with lock:
                    if next(left, None) is None:
                        return
                connection.request("GET", "/")
                with connection.getresponse() as response:
                    body = response.read().decode()
                with lock:
                    seen.append((response.status, body))

    workers = [threading.Thread(target=worker) for _ in range(AT_ONCE)]
    for thread in workers:
        thread.start()
    while any(thread.is_alive() for thread in workers):
        meanwhile()
    for thread in workers:
        thread.join()
    return seen


def collect(journal: Path, taps: Path) -> tuple[list[Perturbed], int]:
    """Each perturbation whose bytes name a request, and how many there are without."""
    began: dict[str, PerturbationBegan] = {}
    ended: dict[str, PerturbationEnded] = {}
    links: dict[str, list[Link]] = {}
    for entry in read(journal):
        if isinstance(entry.record, PerturbationBegan):
            began[entry.record.perturbation] = entry.record
        elif isinstance(entry.record, PerturbationEnded):
            ended[entry.record.perturbation] = entry.record
        elif isinstance(entry.record, Link):
            links.setdefault(entry.record.perturbation, []).append(entry.record)
    assert began.keys() == ended.keys()
    found, blind = [], 0
    for key, first in began.items():
        last = ended[key].offset
        assert first.offset is not None
        assert last is not None
        truth = named(taps / first.source, first.offset, last)
        if truth:
            found.append(Perturbed(truth, tuple(links.get(key, ()))))
        else:
            blind += 1
    return found, blind


def named(stream: Path, start: int, end: int) -> frozenset[str]:
    """The ids in the bytes ``[start, end)`` of one connection."""
    data = stream.read_bytes() if stream.exists() else b""
    return frozenset(match[1].decode() for match in KEY.finditer(data[start:end]))
