"""Drives an app while toxics come and go, and compares what was attributed with the payload."""

from __future__ import annotations

import http.client
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from seism.client import Control
from seism.journal import read
from seism_middleware.contract import CONNECT, Attribution, PerturbationBegan, PerturbationEnded
from tests.processes import until

REQUESTS = 2000
AT_ONCE = 32
KEY = re.compile(rb"<([0-9a-z]+-[0-9]+)>")


@dataclass(frozen=True)
class Perturbed:
    """One perturbation: which requests the payload names, and which were attributed."""

    truth: frozenset[str]
    attributions: tuple[Attribution, ...]

    @property
    def named(self) -> set[str | None]:
        """The requests that it was attributed to, as possible at least."""
        return {attribution.request for attribution in self.attributions}


def wrong(perturbed: list[Perturbed], renamed: Mapping[str, str] | None = None) -> int:
    """How many perturbations are attributed to other requests than the payload names.

    ``renamed`` mixes up the ids of the truth, for the proof that this can fail.
    """
    renamed = renamed or {}
    return sum(
        {attribution.request for attribution in item.attributions}
        != {renamed.get(key, key) for key in item.truth}
        for item in perturbed
    )


def drive(port: int, control: Control, requests: int = REQUESTS) -> Counter[int]:
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
        time.sleep(0.002)

    return Counter(status for status, _ in answers(port, requests, disturb))


def outages(port: int, control: Control, requests: int) -> list[tuple[int, str]]:
    """Status and body of each request; meanwhile the backend is away again and again."""

    def disturb() -> None:
        control.call("POST", "/proxies/backend", {"enabled": False})
        time.sleep(0.03)
        control.call("POST", "/proxies/backend", {"enabled": True})
        time.sleep(0.3)

    return answers(port, requests, disturb)


def answers(port: int, count: int, meanwhile: Callable[[], None]) -> list[tuple[int, str]]:
    """Status (0 for none) and body of ``count`` requests, ``AT_ONCE`` at once.

    After the first tenth ``meanwhile`` is called again and again until they are through.
    """
    seen: list[tuple[int, str]] = []
    left = iter(range(count))
    lock = threading.Lock()

    def worker() -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            while True:
                with lock:
                    if next(left, None) is None:
                        return
                try:
                    connection.request("GET", "/")
                    with connection.getresponse() as response:
                        answer = response.status, response.read().decode()
                except (OSError, http.client.HTTPException):
                    connection.close()
                    answer = 0, ""
                with lock:
                    seen.append(answer)

    workers = [threading.Thread(target=worker) for _ in range(AT_ONCE)]
    for thread in workers:
        thread.start()
    until(lambda: len(seen) >= count // 10)
    while any(thread.is_alive() for thread in workers):
        meanwhile()
    for thread in workers:
        thread.join()
    return seen


def collect(journal: Path, taps: Path) -> tuple[list[Perturbed], int]:
    """Each perturbation whose bytes name a request, and how many there are without."""
    began: dict[str, PerturbationBegan] = {}
    ended: dict[str, PerturbationEnded] = {}
    attributions: dict[str, list[Attribution]] = {}
    for entry in read(journal):
        if isinstance(entry.record, PerturbationBegan):
            began[entry.record.perturbation] = entry.record
        elif isinstance(entry.record, PerturbationEnded):
            ended[entry.record.perturbation] = entry.record
        elif isinstance(entry.record, Attribution):
            attributions.setdefault(entry.record.perturbation, []).append(entry.record)
    assert began.keys() == ended.keys()
    found, blind = [], 0
    for key, first in began.items():
        last = ended[key].offset
        assert first.offset is not None
        assert last is not None
        truth = named(taps / first.source, first.offset, last)
        if truth:
            found.append(Perturbed(truth, tuple(attributions.get(key, ()))))
        else:
            blind += 1
    return found, blind


def connects(journal: Path, failed: Iterable[str], served: set[str]) -> Iterator[Perturbed]:
    """Each request whose connect has ``failed``, with what of the outages was attributed to it.

    An exact attribution by a connect to one that the app has ``served`` is wrong.
    """
    hits: dict[str, list[Attribution]] = {key: [] for key in failed}
    outages = set()
    for entry in read(journal):
        record = entry.record
        if isinstance(record, PerturbationBegan) and record.type == "down":
            outages.add(record.perturbation)
        elif isinstance(record, Attribution) and record.perturbation in outages:
            if record.request in hits:
                hits[record.request].append(record)
            elif record.request in served and record.exact and record.evidence == CONNECT:
                yield Perturbed(frozenset({"served"}), (record,))
    for key, attributions in hits.items():
        yield Perturbed(frozenset({key}), tuple(attributions))


def named(stream: Path, start: int, end: int) -> frozenset[str]:
    """The ids in the bytes ``[start, end)`` of one connection."""
    data = stream.read_bytes() if stream.exists() else b""
    return frozenset(match[1].decode() for match in KEY.finditer(data[start:end]))
