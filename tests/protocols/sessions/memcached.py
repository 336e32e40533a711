"""memcached: pymemcache, pylibmc (text and binary), and raw meta and quiet commands."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pylibmc
from pymemcache.client.base import Client

from tests.ports import free_port
from tests.processes import process, wait_for
from tests.protocols.record import Sessions

SESSIONS = Sessions()
SIZES = ["-u", "nobody", "-l", "127.0.0.1", "-U", "0", "-m", "64"]


@contextmanager
def server() -> Iterator[int]:
    port = free_port()
    with process("memcached", *SIZES, "-p", str(port)) as child:
        wait_for(port, child)
        yield port


@SESSIONS.add(
    "pymemcache",
    "flush_all set set add replace append prepend get get get gets cas incr decr touch delete"
    " get set get stats version quit",
)
def _(port: int) -> None:
    client = Client(("127.0.0.1", port), timeout=10)
    client.flush_all(noreply=False)
    assert client.set("a", b"one", noreply=False)
    client.set("b", b"two", noreply=True)
    assert client.add("n", b"5", noreply=False)
    assert client.replace("a", b"three", noreply=False)
    assert client.append("a", b"!", noreply=False)
    client.prepend("a", b"?", noreply=True)
    assert client.get("a") == b"?three!"
    assert client.get("none") is None
    assert client.get_many(["a", "b", "none"]) == {"a": b"?three!", "b": b"two"}
    _, unique = client.gets("a")
    assert client.cas("a", b"four", unique, noreply=False)
    assert client.incr("n", 3) == 8
    assert client.decr("n", 1) == 7
    assert client.touch("a", 60, noreply=False)
    assert client.delete("b", noreply=False)
    assert client.get("b") is None
    assert client.set("big", b"END\r\nx" * 4000, noreply=False)
    assert client.get("big") == b"END\r\nx" * 4000
    assert client.stats()
    assert client.version()
    client.quit()


@SESSIONS.add("pylibmc-text", "set get get add incr delete get quit")
def _(port: int) -> None:
    client = pylibmc.Client([f"127.0.0.1:{port}"])
    client.set("p", "value")
    assert client.get("p") == "value"
    assert client.get_multi(["p", "q"]) == {"p": "value"}
    assert client.add("count", 1)
    assert client.incr("count") == 2
    assert client.delete("p")
    assert client.get("p") is None
    client.disconnect_all()


@SESSIONS.add("pylibmc-binary", "set getk getk getk noop set incr delete getk append quit")
def _(port: int) -> None:
    client = pylibmc.Client([f"127.0.0.1:{port}"], binary=True)
    client.set("p", "value")
    assert client.get("p") == "value"
    assert client.get_multi(["p", "q"]) == {"p": "value"}
    client.set("number", 2)
    assert client.incr("number") == 3
    assert client.delete("p")
    assert client.get("p") is None
    assert not client.append("p", "more")
    client.disconnect_all()


def _raw(port: int, *parts: bytes) -> bytes:
    """Sends the parts, the last of which makes the server end the connection."""
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(b"".join(parts))
        answer = b""
        while data := connection.recv(65536):
            answer += data
    return answer


@SESSIONS.add("meta", "ms mg mg mg ma md mg mn ms mg mg mg mn ms me md mn quit")
def _(port: int) -> None:
    answer = _raw(
        port,
        b"ms m 5 T60\r\nmeta1\r\nmg m v t\r\nmg m s\r\nmg none v\r\nma n2 N0 J7 v\r\n",
        b"md n2 q\r\nmg n2 v k q\r\nmn\r\n",
        b"ms m2 4 q O1\r\nVA 1\r\nmg m2 v q k O2\r\nmg none v q k O3\r\nmg m v q k O4\r\nmn\r\n",
        b"ms m 3 ME q\r\nxxx\r\nme none\r\nmd none q\r\nmn\r\nquit\r\n",
    )
    assert answer.count(b"MN\r\n") == 3, answer
    assert b"VA 4 km2 O2\r\nVA 1\r\n" in answer, answer


@SESSIONS.add("text-errors", "get delete incr touch verbosity stats stats lru_crawler quit")
def _(port: int) -> None:
    answer = _raw(
        port,
        b"get " + b" ".join(b"key%d" % number for number in range(600)) + b"\r\n",
        b"delete none\r\nincr none 1\r\ntouch none 0\r\nverbosity 0\r\nstats items\r\n",
        b"stats reset\r\nlru_crawler metadump all\r\nquit\r\n",
    )
    assert answer.startswith(b"END\r\nNOT_FOUND"), answer


def packet(
    opcode: int, key: bytes = b"", value: bytes = b"", extras: bytes = b"", id: int = 0
) -> bytes:
    """A request of the binary protocol."""
    size = len(extras) + len(key) + len(value)
    head = struct.pack("!BBHBBHIIQ", 0x80, opcode, len(key), len(extras), 0, 0, size, id, 0)
    return head + extras + key + value


@SESSIONS.add("binary", "set add get get getk stats delete sasl_list version touch gat noop quit")
def _(port: int) -> None:
    flags = bytes(8)
    _raw(
        port,
        packet(0x11, b"q1", b"value", flags, 1),
        packet(0x12, b"q1", b"other", flags, 2),  # an error, which is told
        packet(0x09, b"none", id=3),
        packet(0x09, b"q1", id=4),
        packet(0x0D, b"q1", id=5),
        packet(0x10, id=6),
        packet(0x14, b"none", id=7),
        packet(0x20, id=8),
        packet(0x0B, id=9),
        packet(0x1C, b"q1", b"", bytes(4), 10),
        packet(0x1D, b"q1", b"", bytes(4), 11),
        packet(0x0A, id=12),
        packet(0x07, id=13),
    )
