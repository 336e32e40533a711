"""A connect that fails inside a C library or uvloop belongs to the request that made it."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from seism_middleware.contract import PerturbationBegan, PerturbationEnded, Proxied
from seism_middleware.correlate import Correlator
from seism_middleware.drivers import libpq
from seism_middleware.ledger import Ledger
from seism_middleware.patches import Patches
from seism_middleware.traffic import Request, current
from tests.debian import unable

Connect = Callable[[str, int], Any]


def psycopg2(host: str, port: int) -> None:
    import psycopg2 as module

    module.connect(host=host, port=port, user="seism", dbname="postgres", connect_timeout=5)


def psycopg2_dsn(host: str, port: int) -> None:
    import psycopg2 as module

    module.connect(
        f"postgresql://seism@[{host}]:{port}/postgres"
        if ":" in host
        else f"postgresql://seism@{host}:{port}/postgres"
    )


def psycopg2_polled(host: str, port: int) -> None:
    import select

    import psycopg2 as module

    connection = module.connect(host=host, port=port, user="seism", dbname="a", async_=True)
    while (state := connection.poll()) != module.extensions.POLL_OK:
        reads = state == module.extensions.POLL_READ
        select.select([connection] if reads else [], [] if reads else [connection], [], 5)


def psycopg(host: str, port: int) -> None:
    import psycopg as module

    module.connect(host=host, port=port, user="seism", dbname="postgres", connect_timeout=5)


def psycopg_async(host: str, port: int) -> None:
    import psycopg as module

    asyncio.run(module.AsyncConnection.connect(host=host, port=port, user="seism", dbname="a"))


def mysqlclient(host: str, port: int) -> None:
    import MySQLdb

    MySQLdb.connect(host=host, port=port, user="seism", connect_timeout=5)


def mysql_connector(host: str, port: int) -> None:
    import mysql.connector

    mysql.connector.connect(host=host, port=port, user="seism", use_pure=False)


def pylibmc(host: str, port: int) -> None:
    import pylibmc as module

    module.Client([f"[{host}]:{port}" if ":" in host else f"{host}:{port}"]).set("a", "b")


def python_ldap(host: str, port: int) -> None:
    import ldap

    ldap.initialize(f"ldap://{address(host, port)}").simple_bind_s("", "")


def bonsai(host: str, port: int) -> None:
    import bonsai as module

    module.LDAPClient(f"ldap://{address(host, port)}").connect()


def bonsai_async(host: str, port: int) -> None:
    import bonsai as module

    async def main() -> None:
        await module.LDAPClient(f"ldap://{address(host, port)}").connect(is_async=True)

    asyncio.run(main())


def pycurl(host: str, port: int) -> None:
    import pycurl as module

    curl = module.Curl()
    curl.setopt(module.URL, f"http://{address(host, port)}/a")
    curl.perform()


def uvloop(host: str, port: int) -> None:
    run_uvloop(lambda: asyncio.open_connection(host, port))


def uvloop_sock_connect(host: str, port: int) -> None:
    async def main() -> None:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, *_, at = found[-1]
        with socket.socket(family) as sock:
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, at)

    run_uvloop(main)


def asyncpg(host: str, port: int) -> None:
    import asyncpg as module

    run_uvloop(lambda: module.connect(host=host, port=port, user="seism", database="a", ssl=False))


def run_uvloop(main: Callable[[], Any]) -> None:
    import uvloop as module

    async def awaited() -> None:
        await main()

    with asyncio.Runner(loop_factory=module.new_event_loop) as runner:
        runner.run(awaited())


def address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


CLIENTS: dict[Connect, str] = {
    psycopg2: "psycopg2", psycopg2_dsn: "psycopg2", psycopg2_polled: "psycopg2",
    psycopg: "psycopg", psycopg_async: "psycopg", mysqlclient: "MySQLdb",
    pylibmc: "_pylibmc", python_ldap: "_ldap",
    bonsai: "bonsai", bonsai_async: "bonsai", pycurl: "pycurl", uvloop: "uvloop",
    uvloop_sock_connect: "uvloop", asyncpg: "asyncpg",
}  # fmt: skip
"""Client -> the module that it needs."""
APART = "SEISM_TEST_APART"
"""Set in the process that only tests mysql-connector: its C extension cannot be imported once
psycopg has loaded its own OpenSSL, which other test modules do."""
if APART in os.environ:
    CLIENTS = {mysql_connector: "_mysql_connector"}


@pytest.fixture
def port() -> Iterator[int]:
    """A port that nobody listens on, and that nobody else is given."""
    with socket.socket() as kept:
        kept.bind(("127.0.0.1", 0))
        yield kept.getsockname()[1]


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    ledger = Ledger()
    patches = Patches(ledger)
    patches.install()
    yield ledger
    patches.uninstall()


def fail(connect: Connect, host: str, port: int) -> Request:
    """The request whose connect has failed; it stays in flight."""
    if importlib.util.find_spec(CLIENTS[connect]) is None:
        unable(f"{CLIENTS[connect]} is missing: pip install '.[matrix]'")
    request = Request("r", "GET", 0.0)
    token = current.set(request)
    try:
        with pytest.raises(Exception) as raised:
            connect(host, port)
        assert not isinstance(raised.value, AssertionError | ImportError)
    finally:
        current.reset(token)
    return request


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("connect", CLIENTS, ids=lambda each: each.__name__)
def test_a_failed_connect_is_the_requests(
    connect: Connect, host: str, port: int, ledger: Ledger
) -> None:
    ledger.watch(0, [Proxied("db", "127.0.0.1", port)])
    request = fail(connect, host, port)
    if connect is mysqlclient and host == "localhost":
        assert request.refused is None  # a Unix socket, whatever the port
    else:
        assert request.refused is not None and request.refused.keys() == {"db"}
        assert {failed.request for failed in ledger.refusals} == {request}


@pytest.mark.parametrize("connect", CLIENTS, ids=lambda each: each.__name__)
def test_one_that_leads_elsewhere_is_not(connect: Connect, port: int, ledger: Ledger) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        ledger.watch(0, [Proxied("db", "127.0.0.1", other.getsockname()[1])])
        assert fail(connect, "127.0.0.1", port).refused is None
        ledger.watch(0, [Proxied("db", "127.0.0.2", port)])
        assert fail(connect, "127.0.0.1", port).refused is None


def test_libpq_takes_its_addresses_from_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGHOST", "PGHOSTADDR", "PGPORT"):
        monkeypatch.delenv(name, raising=False)

    def found(**given: str) -> list[tuple[str, int]]:
        return list(libpq.addresses(given))

    assert found() == found(host="/run/postgresql") == found(host="@abstract") == []
    assert found(host="a") == [("a", 5432)]
    assert found(host="a,b", port="1") == [("a", 1), ("b", 1)]
    assert found(host="a,b,/run", port="1,,3") == [("a", 1), ("b", 5432)]
    assert found(host="a,b", hostaddr="127.0.0.1,", port="1,2") == [("127.0.0.1", 1), ("b", 2)]
    monkeypatch.setenv("PGHOST", "c")
    monkeypatch.setenv("PGPORT", "7")
    assert found() == [("c", 7)]
    assert found(host="a") == [("a", 7)]


def test_one_that_ends_after_the_outage_belongs_to_it(port: int) -> None:
    """The thread whose connect failed may run again only when the proxy is back."""
    emitted: list[Any] = []
    ledger = Ledger()
    correlator = Correlator(ledger, emitted.append)
    request = Request("r", "GET", 0.0)

    def outage(name: str, began: float, ended: float) -> None:
        record = PerturbationBegan(name, "db", "down", "down", began, "", "", f"127.0.0.1:{port}")
        correlator.began(record)
        correlator.ended(PerturbationEnded(name, ended, "enabled"))

    def attributed() -> list[tuple[str, str | None, bool]]:
        return [(each.perturbation, each.request, each.exact) for each in emitted]

    outage("p1", 1.0, 2.0)
    token = current.set(request)
    try:
        ledger.refused("db", since=3.0)
        assert attributed() == []
        ledger.refused("cache", since=1.5)
        assert attributed() == []
        ledger.refused("db", since=1.5)
        assert attributed() == [("p1", "r", True)]
        outage("p2", 4.0, 5.0)
        emitted.clear()
        current.set(Request("r2", "GET", 0.0))
        ledger.refused("db", since=1.5)
        assert attributed() == [("p1", "r2", True)]
    finally:
        current.reset(token)
        correlator.close()


def test_a_server_that_says_no_has_been_reached(ledger: Ledger) -> None:
    """The healthy twin: whoever gets an answer was connected, whatever the answer is."""
    pytest.importorskip("MySQLdb")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        ledger.watch(0, [Proxied("db", "127.0.0.1", port)])
        refusal = b"\xff\x10\x04Too many connections"

        def serve() -> None:
            with suppress(OSError):
                client, _ = listener.accept()
                with client:
                    client.sendall(len(refusal).to_bytes(3, "little") + b"\0" + refusal)

        thread = threading.Thread(target=serve)
        thread.start()
        assert fail(mysqlclient, "127.0.0.1", port).refused is None
        thread.join()


@pytest.mark.skipif(APART in os.environ, reason="this is the process of its own")
def test_mysql_connector_in_a_process_of_its_own() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-k",
            "mysql_connector",
            __file__,
        ],
        env={**os.environ, APART: "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout
