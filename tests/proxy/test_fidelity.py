"""Whatever two ends say to each other, they cannot tell that a proxy is between them.

The same conversation is held directly and through a proxy, over every kind of socket
on either side, and both ends must have seen the same.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.proxy.ends import KINDS, End, Listening, Tls, listen, pair, spec
from tests.proxy.harness import Proxies, eventually

SIZES = st.one_of(st.integers(1, 3000), st.integers(1, 300_000))


@dataclass(frozen=True)
class Say:
    """``who`` sends ``size`` bytes; ``heard``: and waits until they have arrived."""

    who: str
    size: int
    heard: bool
    pause: float
    """Seconds."""


WHO = st.sampled_from(["client", "server"])
SAYINGS = st.lists(
    st.builds(Say, WHO, SIZES, st.booleans(), st.sampled_from([0, 0, 0.003])), max_size=6
)
ENDINGS = st.sampled_from(["half", "close", "reset"])


class Ear(threading.Thread):
    """Listens at one end until its stream is over."""

    def __init__(self, end: End) -> None:
        super().__init__(daemon=True)
        self._end = end
        self.heard = bytearray()
        self.ending = ""
        self.start()

    def run(self) -> None:
        try:
            while data := self._end.recv(65536):
                self.heard += data
            self.ending = "end"
        except ssl.SSLEOFError:
            self.ending = "cut"
        except ConnectionResetError:
            self.ending = "reset"
        except OSError as error:
            self.ending = repr(error)


def converse(
    client: End, server: End, sayings: list[Say], more: list[Say], who: str, ending: str
) -> dict[str, tuple[bytes, str]]:
    """Hold a conversation, which ``who`` ends; what each end heard, and how that ended."""
    ends = {"client": client, "server": server}
    other = "server" if who == "client" else "client"
    ears = {name: Ear(end) for name, end in ends.items()}
    total = {"client": 0, "server": 0}

    def say(saying: Say) -> None:
        data = bytes(range(256)) * (saying.size // 256 + 1)
        ends[saying.who].sendall(data[: saying.size])
        total[saying.who] += saying.size
        if saying.heard:
            arrived()
        time.sleep(min(saying.pause, 0.01))

    def arrived() -> None:
        eventually(
            lambda: all(
                len(ears[to].heard) >= total[by] or not ears[to].is_alive()
                for by, to in (("client", "server"), ("server", "client"))
            )
        )

    for saying in sayings:
        say(saying)
    if ending == "half":
        ends[who].finish()
        for saying in more:
            say(Say(other, saying.size, saying.heard, saying.pause))
        ends[other].finish()
    else:
        # What is on the way at a reset may be lost, directly as well; and closing
        # with bytes unread is a reset.
        arrived()
        if ending == "reset":
            ends[who].deafen()
            ears[who].join()
            ends[who].reset()
        else:
            ends[who].finish()
            ears[other].join()
            ends[other].close()
    ears[other].join()
    if ending != "reset":
        ears[who].join()
        return {name: (bytes(ear.heard), ear.ending) for name, ear in ears.items()}
    return {other: (bytes(ears[other].heard), ears[other].ending)}


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    return Tls(tmp_path_factory.mktemp("tls"))


class House:
    """Servers of each kind, and proxies of each kind before each of them."""

    def __init__(self, proxies: Proxies, folder: Path, tls: Tls) -> None:
        self.tls = tls
        self.proxies = proxies
        self.servers = {kind: listen(kind, folder, tls) for kind in KINDS}
        self.made: dict[tuple[str, str, bool], Any] = {}
        for front, back, armed in product(KINDS, KINDS, (False, True)):
            name = f"{front}-{back}-{armed}"
            wanted = spec(name, front, self.servers[back], folder, tls)
            self.made[front, back, armed] = proxies.create(wanted)
            if armed:
                for stream in ("upstream", "downstream"):
                    proxies.toxic(name, "latency", stream=stream)

    def talk(self, front: str, to: str, server: Listening, *conversation: Any) -> dict[str, Any]:
        with pair(front, to, server, self.tls) as (client, there):
            return converse(client, there, *conversation)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, tls: Tls) -> Iterator[House]:
    with Proxies() as proxies:
        made = House(proxies, tmp_path_factory.mktemp("house"), tls)
        yield made
        for server in made.servers.values():
            server.sock.close()


@pytest.mark.parametrize("back", KINDS)
@pytest.mark.parametrize("front", KINDS)
@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(sayings=SAYINGS, more=SAYINGS, who=WHO, ending=ENDINGS, armed=st.booleans())
def test_a_conversation_is_the_same_as_without_us(
    house: House,
    front: str,
    back: str,
    sayings: list[Say],
    more: list[Say],
    who: str,
    ending: str,
    armed: bool,
) -> None:
    if ending == "reset" and "unix" in (front, back):
        ending = "close"  # a Unix socket has no reset
    conversation = (sayings, more, who, ending)
    proxy = house.made[front, back, armed]
    direct = house.talk(front, house.servers[front].address, house.servers[front], *conversation)
    proxied = house.talk(front, proxy.listen, house.servers[back], *conversation)
    assert proxied == direct
    eventually(lambda: proxy.connections == 0)
