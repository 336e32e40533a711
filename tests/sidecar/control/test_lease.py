"""Leases: whoever vanishes leaves no toxic and no outage behind."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from seism.client import Client
from seism.errors import Conflict, NotFound
from tests.processes import process, sidecar, until

RUNNER = """
import sys, time
from seism.client import Client
client = Client(sys.argv[1])
client.lease(float(sys.argv[2]))
client.proxy("one").add_toxic("latency", "slow", attributes={"latency": 1})
client.enable("two", False)
print("perturbed", flush=True)
while True:
    time.sleep(1)
"""


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with sidecar(tmp_path / "journal.jsonl") as control:
        with Client(f"{control.host}:{control.port}") as client:
            for name in ("one", "two"):
                client.create(name, "127.0.0.1:1")
            yield client


def ended(tmp_path: Path) -> list[dict[str, object]]:
    lines = (tmp_path / "journal.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    return [record for record in records if record["kind"] == "lease.ended"]


def test_a_runner_that_is_killed(client: Client, tmp_path: Path) -> None:
    client.proxy("one").add_toxic("noop", "ours")
    seconds = 1.0
    argv = (sys.executable, "-c", RUNNER, f"{client.host}:{client.port}", str(seconds))
    with process(*argv, stdout=subprocess.PIPE) as runner:
        assert runner.stdout is not None
        assert runner.stdout.readline() == b"perturbed\n"
        # It is renewed: after more than its time everything is still there.
        renewed = client.call("POST", "/seism/leases", {"seconds": 2 * seconds})["lease"]
        until(lambda: any(each["lease"] == renewed for each in ended(tmp_path)))
        assert not client.proxies()["two"]["enabled"]
        assert [each["name"] for each in client.proxy("one").toxics()] == ["ours", "slow"]
        runner.kill()
        runner.wait(10)
        until(lambda: client.proxies()["two"]["enabled"], seconds=seconds + 5)
    assert [each["name"] for each in client.proxy("one").toxics()] == ["ours"]
    until(lambda: len(ended(tmp_path)) == 2)
    last = ended(tmp_path)[-1]
    assert (last["why"], last["undone"]) == ("expired", ["slow on one", "down on two"])


def test_given_back(client: Client, tmp_path: Path) -> None:
    client.lease(60)
    client.proxy("one").add_toxic("latency", "slow")
    client.release()
    assert client.proxy("one").toxics() == []
    client.proxy("one").add_toxic("latency", "slow")  # under no lease any more
    client.release()
    assert len(client.proxy("one").toxics()) == 1


def test_what_somebody_else_did_since_stays(client: Client) -> None:
    client.lease(60)
    client.proxy("one").add_toxic("latency", "slow")
    client.enable("two", False)
    with Client(f"{client.host}:{client.port}") as other:
        other.proxy("one").named("slow").remove()
        other.proxy("one").add_toxic("noop", "slow")
        other.enable("two", True)
        other.enable("two", False)
        client.release()
        assert other.proxy("one").named("slow").get()["type"] == "noop"
        assert not other.proxies()["two"]["enabled"]


def test_what_a_toxic_has_left_dead_is_reset_with_its_lease(client: Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        client.create("held", "{}:{}".format(*server.getsockname()))
        host, port = client.proxies()["held"]["listen"].split(":")
        with socket.create_connection((host, int(port)), 10) as ours, server.accept()[0] as far:
            ours.sendall(b"ask")
            assert far.recv(3) == b"ask"
            client.lease(60)
            client.proxy("held").add_toxic("half_open", "gone")
            client.proxy("held").named("gone").remove()
            far.sendall(b"answer")
            ours.settimeout(0.1)
            with pytest.raises(TimeoutError):
                ours.recv(1)
            ours.settimeout(10)
            client.release()
            with pytest.raises(ConnectionResetError):
                ours.recv(1)


def test_a_lease_that_is_over_perturbs_nothing(client: Client) -> None:
    client.headers["Seism-Lease"] = "lease-99"
    with pytest.raises(Conflict, match="lease-99"):
        client.proxy("one").add_toxic("latency", "slow")
    with pytest.raises(Conflict, match="lease-99"):
        client.enable("two", False)
    del client.headers["Seism-Lease"]
    assert client.proxy("one").toxics() == []
    assert client.proxies()["two"]["enabled"]
    with pytest.raises(NotFound):
        client.call("PUT", "/seism/leases/lease-99")
