"""What a with block changed is as before when it ends, however it ends."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from seism.client import Client, Proxy
from seism.client.layers import Layers, Target
from seism.errors import ConfigurationError, Conflict, NotFound, Unavailable
from tests.processes import free_port, heed_interrupts, process, sidecar


class Boom(Exception):
    """What goes wrong in a block."""


ENDINGS = [None, Boom("boom"), KeyboardInterrupt(), SystemExit(3)]


def end(how: BaseException | None) -> None:
    if how is not None:
        raise how


@pytest.mark.parametrize("how", ENDINGS, ids=repr)
def test_everything_is_taken_back(client: Client, db: Proxy, how: BaseException | None) -> None:
    db.add_toxic("latency", "slow", attributes={"latency": 5, "jitter": 1})
    before = client.proxies()
    with contextlib.suppress(Boom, KeyboardInterrupt, SystemExit):
        with (
            client.created("another", "127.0.0.1:2", toxics=[{"type": "timeout"}]) as another,
            db.down(),
            db.changed(upstream="127.0.0.1:2", listen=f"127.0.0.1:{free_port()}"),
            db.named("slow").changed(latency=500, toxicity=0.5) as slow,
            db.toxic("latency", latency=7) as toxic,
            db.toxic("latency", latency=8) as second,
        ):
            assert another.toxics()[0]["type"] == "timeout"
            assert not db.get()["enabled"]
            assert db.get()["upstream"] == "127.0.0.1:2"
            assert slow.get()["attributes"] == {"latency": 500, "jitter": 1}
            assert slow.get()["toxicity"] == 0.5
            assert toxic.get()["attributes"]["latency"] == 7
            assert (toxic.name, second.name) == ("latency_downstream", "latency_downstream_2")
            end(how)
    assert client.proxies() == before


def test_the_conditions_of_a_fault(client: Client) -> None:
    with client.created("cache", "127.0.0.1:2", protocol="redis") as cache:
        busy = cache.add_toxic("redis_busy")
        with busy.changed(exchange={"kind": "GET"}):
            with busy.changed(exchange={"key": "a*", "nth": 2}, toxicity=0.5):
                assert busy.get()["exchange"] == {"key": "a*", "nth": 2}
            assert busy.get()["exchange"] == {"kind": "GET"}
        assert "exchange" not in busy.get()
        busy.update(exchange={"kind": "SET"})
        busy.update(toxicity=0.5)
        assert (busy.get()["exchange"], busy.get()["toxicity"]) == ({"kind": "SET"}, 0.5)
        with pytest.raises(ConfigurationError, match="did you mean 'kind'"):
            busy.update(exchange={"kint": "SET"})
        assert busy.get()["exchange"] == {"kind": "SET"}


def test_down_in_down(db: Proxy) -> None:
    with db.down():
        with db.down():
            pass
        assert not db.get()["enabled"]
    assert db.get()["enabled"]


def test_down_leaves_a_proxy_that_was_down(db: Proxy) -> None:
    db.update(enabled=False)
    with db.down():
        pass
    assert not db.get()["enabled"]


def test_blocks_that_end_in_another_order(client: Client, db: Proxy) -> None:
    """As in threads: the value is that of the last block that is left, then the first one."""
    slow = db.add_toxic("latency", attributes={"latency": 1})

    def latency() -> int:
        found: int = slow.get()["attributes"]["latency"]
        return found

    blocks = [slow.changed(latency=value) for value in (10, 20, 30)]
    for block in blocks:
        block.__enter__()
    assert latency() == 30
    blocks[1].__exit__(None, None, None)
    assert latency() == 30
    blocks[2].__exit__(None, None, None)
    assert latency() == 10
    blocks[0].__exit__(None, None, None)
    assert latency() == 1


def test_threads_share_a_client(client: Client, db: Proxy) -> None:
    slow = db.add_toxic("latency", "slow", attributes={"latency": 1})
    before = client.proxies()
    failures: list[BaseException] = []
    started = threading.Barrier(6)

    def use(number: int) -> None:
        try:
            started.wait(30)
            for turn in range(5):
                with (
                    db.down(),
                    slow.changed(latency=10 * number + turn + 2),
                    db.toxic("latency", stream="upstream", latency=number) as toxic,
                ):
                    assert not db.get()["enabled"]
                    assert toxic.get()["attributes"]["latency"] == number
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert client.proxies() == before


class TestForeignChanges:
    """What somebody else did in the meantime stays."""

    @pytest.fixture
    def other(self, served: str) -> Client:
        return Client(served, token="")

    def test_of_an_attribute(self, db: Proxy, other: Client) -> None:
        slow = db.add_toxic("latency", attributes={"latency": 1, "jitter": 1})
        theirs = other.proxy(db.name).named(slow.name)
        with slow.changed(latency=10, jitter=5):
            theirs.update(latency=99)
        assert slow.get()["attributes"] == {"latency": 99, "jitter": 1}

    def test_under_a_block(self, db: Proxy, other: Client) -> None:
        slow = db.add_toxic("latency", attributes={"latency": 1})
        with slow.changed(latency=10):
            other.proxy(db.name).named(slow.name).update(latency=99)
            with slow.changed(latency=20):
                pass
            assert slow.get()["attributes"]["latency"] == 99
        assert slow.get()["attributes"]["latency"] == 99

    def test_of_the_rest(self, db: Proxy, other: Client) -> None:
        with db.down(), db.toxic("latency", latency=1):
            other.proxy(db.name).update(upstream="127.0.0.1:9")
            other.proxy(db.name).add_toxic("timeout", "theirs")
        assert db.get()["upstream"] == "127.0.0.1:9"
        assert [toxic["name"] for toxic in db.toxics()] == ["theirs"]

    def test_of_everything(self, client: Client, db: Proxy, other: Client) -> None:
        slow = db.add_toxic("latency", attributes={"latency": 1})
        with (
            db.down(),
            slow.changed(latency=10),
            db.toxic("timeout"),
            client.created("away", "127.0.0.1:1"),
        ):
            other.reset()
            other.proxy("away").delete()
        assert db.get()["enabled"]
        assert db.toxics() == []

    def test_a_toxic_of_the_same_name(self, db: Proxy, other: Client) -> None:
        with db.toxic("latency", "mine", latency=1) as mine:
            other.remove_toxic(db.name, mine.name)
            other.proxy(db.name).add_toxic("timeout", "mine")
        assert db.toxics()[0]["type"] == "timeout"


class TestRefused:
    """A block that cannot begin leaves what was there before it."""

    def test_names_that_are_taken(self, client: Client, db: Proxy) -> None:
        db.add_toxic("timeout", "taken")
        before = client.proxies()
        with pytest.raises(Conflict), db.toxic("timeout", "taken"):
            pass
        with pytest.raises(Conflict), client.created(db.name, "127.0.0.1:1"):
            pass
        assert client.proxies() == before

    def test_what_cannot_be(self, client: Client, db: Proxy) -> None:
        slow = db.add_toxic("latency", "slow")
        before = client.proxies()
        with pytest.raises(ConfigurationError, match="0 to 3600000 ms"):
            with db.toxic("latency", latency=-1):
                pass
        with pytest.raises(ConfigurationError, match="0 to 3600000 ms"), slow.changed(latency=-1):
            pass
        with pytest.raises(ConfigurationError), db.changed(upstream="nonsense"):
            pass
        with pytest.raises(ConfigurationError), client.created("no", "127.0.0.1:1", listen="x"):
            pass
        assert client.proxies() == before

    def test_what_is_not_there(self, client: Client) -> None:
        for block in (
            client.proxy("none").down(),
            client.proxy("none").toxic("latency"),
            client.proxy("none").named("x").changed(latency=1),
        ):
            with pytest.raises(NotFound), block:
                pass


class Interrupting(Client):
    """Ctrl-C arrives when a call of ``method`` has been answered, once."""

    method = ""

    def call(self, method: str, path: str, body: Any = None) -> Any:
        answer = super().call(method, path, body)
        if method == self.method:
            self.method = ""
            raise KeyboardInterrupt
        return answer


class TestInterrupted:
    """Ctrl-C in the middle of putting on and taking off."""

    @pytest.fixture
    def hasty(self, served: str) -> Interrupting:
        return Interrupting(served, token="")

    @pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
    @pytest.mark.parametrize("late", [False, True])
    def test_at_any_call(
        self, client: Client, db: Proxy, hasty: Interrupting, method: str, late: bool
    ) -> None:
        slow = db.add_toxic("latency", "slow", attributes={"latency": 1})
        before = client.proxies()
        mine = hasty.proxy(db.name)
        if not late:
            hasty.method = method
        with pytest.raises(KeyboardInterrupt):
            with (
                hasty.created("hasty", "127.0.0.1:1"),
                mine.toxic("latency"),
                mine.named(slow.name).changed(latency=50),
                mine.down(),
            ):
                hasty.method = method
            # Nothing of that method was called while blocks ended.
            raise KeyboardInterrupt
        hasty.method = ""
        assert client.proxies() == before


SCRIPT = """
import signal, sys
from seism.client import Client
with Client().proxy("db") .down(), Client().proxy("db").toxic("latency", latency=9):
    print("in", flush=True)
    signal.pause()
"""


def test_ctrl_c_in_a_process(client: Client) -> None:
    with client.created("db", "127.0.0.1:1") as db:
        before = db.get()
        with process(
            sys.executable, "-c", SCRIPT,
            env={"SEISM_SIDECAR": f"{client.host}:{client.port}"},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=heed_interrupts,
        ) as child:  # fmt: skip
            assert child.stdout is not None
            assert child.stdout.readline() == b"in\n"
            assert not db.get()["enabled"]
            child.send_signal(signal.SIGINT)
            child.wait(30)
        assert db.get() == before


class TestSidecarAway:
    def test_it_restarts_within_a_block(self, tmp_path: Path) -> None:
        options = ("--port", str(free_port()))
        with sidecar(tmp_path / "one.jsonl", *options) as control:
            client = Client(f"{control.host}:{control.port}", token="", keep_alive=True)
            client.create("db", "127.0.0.1:1", toxics=[{"type": "latency", "name": "slow"}])
            db = client.proxy("db")
            blocks = [
                db.down(),
                db.toxic("timeout"),
                db.named("slow").changed(latency=1),
                client.created("more", "127.0.0.1:1"),
            ]
            for block in blocks:
                block.__enter__()
        with sidecar(tmp_path / "two.jsonl", *options):
            client.create("db", "127.0.0.1:2")
            before = client.proxies()
            for block in reversed(blocks):
                block.__exit__(None, None, None)
            assert client.proxies() == before
        client.close()

    def test_it_stays_away(self, tmp_path: Path) -> None:
        with sidecar(tmp_path / "journal.jsonl") as control:
            client = Client(f"{control.host}:{control.port}", token="")
            db = client.create("db", "127.0.0.1:1")
            quiet, loud = db.down(), db.toxic("timeout")
            quiet.__enter__()
            loud.__enter__()
        with pytest.raises(Unavailable):
            quiet.__exit__(None, None, None)
        boom = Boom("the test's own")
        # The block's own error is the one that is seen.
        assert not loud.__exit__(Boom, boom, None)
        assert any("not undone" in note for note in boom.__notes__)
        with pytest.raises(Unavailable, match="does not answer"), db.down():
            pass


def test_a_target_that_is_gone_is_forgotten() -> None:
    layers = Layers()
    values = {"a": 1}
    there = True

    def read() -> dict[str, Any]:
        if not there:
            raise NotFound("gone")
        return dict(values)

    def write(new: Any) -> dict[str, Any]:
        values.update(new)
        return dict(values)

    with layers.put(Target(("x",), read, write), {"a": 2}):
        there = False
    there = True
    values["a"] = 5
    with layers.put(Target(("x",), read, write), {"a": 6}):
        assert values == {"a": 6}
    assert values == {"a": 5}
