"""A fault hits one exchange, and that is one request: exactly the one that saw it.

Each request sends its own id to a real server. Those that a fault made fail answer with 503
and their id; they must be the very requests that are attributed, each to a perturbation of its own.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from seism.journal import read
from seism_middleware.contract import Attribution, PerturbationBegan, PerturbationEnded
from tests.databases import MariaDB
from tests.processes import app, settled, sidecar
from tests.proxy.ends import Tls
from tests.servers import Valkey
from tests.truth.measure import answers

REQUESTS = 1000


@pytest.fixture(scope="module")
def valkey() -> Iterator[Valkey]:
    with Valkey() as server:
        yield server


@pytest.fixture(scope="module")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Tls]]:
    """Its port, and a certificate that it and the proxy show."""
    tls = Tls(tmp_path_factory.mktemp("tls"), "127.0.0.1")
    with MariaDB((tls.certificate, tls.key)) as server:
        yield server.port, tls


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
    backend = {"upstream": f"127.0.0.1:{valkey.port}", "protocol": "redis"}
    fault |= {"exchange": {"kind": "SET", "key": "<*>"}}
    check(tmp_path, backend, fault, outcome, kind, CLIENT=client)


@pytest.mark.debian("mariadb-server-core", "mariadb-client-core")
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS by CLIENT_SSL"])
@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ({"type": "mysql_deadlock"}, "changed"),
        ({"type": "mysql_lock_wait_timeout"}, "changed"),
        ({"type": "exchange_close", "attributes": {"when": "served"}}, "closed"),
    ],
    ids=["rolled back", "answered", "reply lost"],
)
@pytest.mark.timeout(120)
def test_who_saw_it_was_hit_in_mysql(
    fault: dict[str, Any], outcome: str, tls: bool, mariadb: tuple[int, Tls], tmp_path: Path
) -> None:
    port, made = mariadb
    backend: dict[str, Any] = {"upstream": f"127.0.0.1:{port}", "protocol": "mysql"}
    environ = {"CLIENT": "pymysql"}
    if tls:
        shown = {"certificate": made.certificate, "key": made.key, "negotiated": True}
        backend |= {"tls": shown, "upstream_tls": {"ca": made.ca, "negotiated": True}}
        environ["CA"] = made.ca
    fault |= {"exchange": {"verb": "SELECT", "table": "items"}}
    check(tmp_path, backend, fault, outcome, "wsgi", **environ)


def check(
    folder: Path, backend: dict[str, Any], fault: dict[str, Any], outcome: str, kind: str,
    **environ: str,
) -> None:  # fmt: skip
    """Who failed is who was attributed, exactly, each to a perturbation of its own."""
    journal = folder / "journal.jsonl"
    with sidecar(journal) as control:
        proxy = control.call("POST", "/proxies", {**backend, "name": "backend"})
        control.add_toxic("backend", {**fault, "toxicity": 0.3})
        environ["BACKEND"] = proxy["listen"]
        with app(kind, f"tests.truth.{kind}_app", control, **environ) as (port, _):
            seen = answers(port, REQUESTS, lambda: time.sleep(0.05))
            settled(lambda: journal.stat().st_size)
    harmed = {body for status, body in seen if status == 503}
    records = [entry.record for entry in read(journal)]
    began = [each for each in records if isinstance(each, PerturbationBegan)]
    ended = [each for each in records if isinstance(each, PerturbationEnded)]
    attributions = [each for each in records if isinstance(each, Attribution)]
    hits = [attribution for attribution in attributions if attribution.role == "hit"]
    print(
        f"{environ}: {len(began)} exchanges perturbed, {len(hits)} attributed, {len(harmed)} failed"
    )

    assert REQUESTS * 0.2 < len(harmed) < REQUESTS * 0.4
    assert len(began) == len(ended) == len(harmed)
    assert {each.outcome for each in ended} == {outcome}
    assert {attribution.request for attribution in hits} == harmed
    assert set(Counter(attribution.perturbation for attribution in hits).values()) == {1}
    assert all(attribution.exact and attribution.evidence == "ledger" for attribution in hits)
    assert attributions == hits
    assert {each.exchange.kind for each in began} <= {"SET", "SELECT"}
    assert "<" not in repr([each.exchange for each in began])
