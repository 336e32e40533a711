"""What the journal says of who changed what perturbs."""

from __future__ import annotations

import http.client
from pathlib import Path
from typing import Any

import pytest

from seism.client import Client
from seism.journal import ToxicChanged, read
from tests.processes import sidecar, until
from tests.stage import CHAOS


def changes(journal: Path, count: int) -> list[tuple[str, str, str, str]]:
    """(change, toxic's name, proxy, by), once there are ``count``."""

    def found() -> list[ToxicChanged]:
        records = (entry.record for entry in read(journal))
        return [record for record in records if isinstance(record, ToxicChanged)]

    until(lambda: len(found()) >= count)
    return [(r.change, (r.toxic or {}).get("name", ""), r.proxy, r.by) for r in found()]


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def test_calls_and_leases(journal: Path) -> None:
    with sidecar(journal) as control:
        made = {
            "name": "cache", "upstream": "127.0.0.1:9",
            "toxics": [{"type": "noop", "name": "first"}],
        }  # fmt: skip
        control.call("POST", "/proxies", made)
        control.add_toxic("cache", {"type": "latency", "name": "slow"})
        control.call("PATCH", "/proxies/cache/toxics/slow", {"attributes": {"latency": 7}})
        control.enable("cache", False)
        control.enable("cache", False)  # nothing new
        control.call("POST", "/reset")
        control.call("POST", "/reset")  # nothing left
        control.lease(60)
        control.add_toxic("cache", {"type": "noop", "name": "leased"})
        control.enable("cache", False)
        control.release()
        control.call("DELETE", "/proxies/cache")
        seen = changes(journal, 11)
    assert seen == [
        ("added", "first", "cache", "api"),
        ("added", "slow", "cache", "api"),
        ("changed", "slow", "cache", "api"),
        ("down", "", "cache", "api"),
        ("removed", "first", "cache", "api"),
        ("removed", "slow", "cache", "api"),
        ("up", "", "cache", "api"),
        ("added", "leased", "cache", "lease-1"),
        ("down", "", "cache", "lease-1"),
        ("removed", "leased", "cache", "lease-1"),
        ("up", "", "cache", "lease-1"),
    ]
    (changed,) = [
        entry.record for entry in read(journal)
        if isinstance(entry.record, ToxicChanged) and entry.record.change == "changed"
    ]  # fmt: skip
    assert changed.toxic is not None
    assert changed.toxic["attributes"]["latency"] == 7


def test_what_the_file_has(journal: Path, tmp_path: Path) -> None:
    file = tmp_path / "toxiproxy.json"
    file.write_text(
        '[{"name": "cache", "upstream": "127.0.0.1:9", "enabled": false,'
        ' "toxics": [{"type": "latency", "name": "slow", "attributes": {"latency": 5}}]}]'
    )
    with sidecar(journal, "--config", str(file)):
        assert changes(journal, 2) == [
            ("added", "slow", "cache", "file"), ("down", "", "cache", "file")
        ]  # fmt: skip


def test_standing_chaos(journal: Path, tmp_path: Path) -> None:
    file = tmp_path / "seism.toml"
    file.write_text(CHAOS)
    with sidecar(journal, "--config", str(file), "--seed", "3") as control:
        seen = changes(journal, 4)
        control.call("DELETE", "/seism/chaos")
    assert {by for *_, by in seen} == {"chaos"}


def test_a_name_that_is_no_lease_is_not_journalled(journal: Path) -> None:
    with sidecar(journal) as control:
        control.call("POST", "/proxies", {"name": "cache", "upstream": "127.0.0.1:9"})
        control.add_toxic("cache", {"type": "noop", "name": "n"})
        connection = http.client.HTTPConnection(control.host, control.port, timeout=10)
        headers = {"Seism-Lease": "a secret"}
        connection.request("DELETE", "/proxies/cache/toxics/n", headers=headers)
        assert connection.getresponse().status == 204
        connection.close()
        assert changes(journal, 2)[-1] == ("removed", "n", "cache", "api")


def test_who_reads_the_feed_sees_them(journal: Path) -> None:
    with sidecar(journal) as control, Client(f"{control.host}:{control.port}") as client:
        control.call("POST", "/proxies", {"name": "cache", "upstream": "127.0.0.1:9"})
        with client.events(["changes"]) as feed:
            control.add_toxic("cache", {"type": "noop", "name": "n"})
            values: dict[str, Any] = feed.next_values()
    assert (values["kind"], values["change"], values["by"]) == ("toxic.changed", "added", "api")
