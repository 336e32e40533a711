"""A fault hits one exchange, and that is one request: exactly the one that saw it.

Each request sends its own id to a real Valkey. Those that a fault made fail answer with 503
and their id; they must be the very requests that are linked, each to a perturbation of its own.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from seism.journal import read
from seism_middleware.contract import Link, PerturbationBegan, PerturbationEnded
from tests.processes import app, settled, sidecar
from tests.servers import Valkey
from tests.truth.measure import answers

REQUESTS = 1000


@pytest.fixture(scope="module")
def valkey() -> Iterator[Valkey]:
    with Valkey() as server:
        yield server


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ({"type": "redis_loading"}, "changed"),
        ({"type": "redis_readonly"}, "changed"),
        ({"type": "exchange_close", "attributes": {"when": "served"}}, "closed"),
    ],
    ids=["answered", "refused", "reply lost"],
)
@pytest.mark.parametrize(("client", "kind"), [("redis", "wsgi"), ("redis-asyncio", "asgi")])
@pytest.mark.timeout(120)
def test_who_saw_it_was_hit(
    client: str, kind: str, fault: dict[str, Any], outcome: str, valkey: Valkey, tmp_path: Path
) -> None:
    journal = tmp_path / "journal.jsonl"
    with sidecar(journal) as control:
        wanted = {"upstream": f"127.0.0.1:{valkey.port}", "protocol": "redis", "name": "backend"}
        proxy = control.call("POST", "/proxies", wanted)
        control.add_toxic(
            "backend", {**fault, "toxicity": 0.3, "exchange": {"kind": "SET", "key": "<*>"}}
        )
        environ = {"CLIENT": client, "BACKEND": proxy["listen"]}
        with app(kind, f"tests.truth.{kind}_app", control, **environ) as (port, _):
            seen = answers(port, REQUESTS, lambda: time.sleep(0.05))
            settled(lambda: journal.stat().st_size)
    harmed = {body for status, body in seen if status == 503}
    records = [entry.record for entry in read(journal)]
    began = [each for each in records if isinstance(each, PerturbationBegan)]
    ended = [each for each in records if isinstance(each, PerturbationEnded)]
    links = [each for each in records if isinstance(each, Link)]
    hits = [link for link in links if link.role == "hit"]
    print(f"{client}: {len(began)} exchanges perturbed, {len(hits)} linked, {len(harmed)} failed")

    assert REQUESTS * 0.2 < len(harmed) < REQUESTS * 0.4
    assert len(began) == len(ended) == len(harmed)
    assert {each.outcome for each in ended} == {outcome}
    assert {link.request for link in hits} == harmed
    assert set(Counter(link.perturbation for link in hits).values()) == {1}
    assert all(link.exact and link.evidence == "ledger" for link in hits)
    assert links == hits
    assert all(each.exchange.kind == "SET" and "<" not in repr(each) for each in began)
