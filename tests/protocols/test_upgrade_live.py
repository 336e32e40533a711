"""TLS that begins within the stream: real clients and servers, and faults inside of it."""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest

from seism.errors import ConfigurationError
from seism.model import ClientTls, ProxySpec, ServerTls, ToxicSpec
from tests import native
from tests.databases import MariaDB, PostgreSQL
from tests.protocols.behind import outcome
from tests.protocols.record import relay
from tests.proxy.ends import Tls
from tests.proxy.harness import Proxies, eventually

pytestmark = pytest.mark.filterwarnings("ignore:ssl.match_hostname:DeprecationWarning:ldap3")
HOST = "127.0.0.1"
PATIENCE = 10

BOTH, CLIENTS = "both sides negotiate", "the backend is not told"


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    """The backend's certificate, and whom the proxy believes."""
    return Tls(tmp_path_factory.mktemp("theirs"), HOST)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    """The proxy's certificate, and whom the clients believe."""
    return Tls(tmp_path_factory.mktemp("ours"), HOST)


# Clients. Each asks for TLS, verifies the certificate, and says what is asked of it.

Ask = Callable[[], object]


@contextmanager
def psycopg_(port: int, ca: str, **options: Any) -> Iterator[Ask]:
    import psycopg

    wanted = {"sslmode": "verify-full", "sslrootcert": ca, "gssencmode": "disable", **options}
    with psycopg.connect(
        host=HOST, port=port, user="seism", dbname="postgres", autocommit=True,
        connect_timeout=PATIENCE, **wanted,
    ) as connection:  # fmt: skip
        yield lambda: connection.execute("SELECT count(*) FROM items").fetchone()


@contextmanager
def pg8000_(port: int, ca: str) -> Iterator[Ask]:
    import pg8000.native

    with pg8000.native.Connection(
        "seism", host=HOST, port=port, database="postgres", timeout=PATIENCE,
        ssl_context=ssl.create_default_context(cafile=ca),
    ) as connection:  # fmt: skip
        yield lambda: tuple(connection.run("SELECT count(*) FROM items")[0])


@contextmanager
def asyncpg_(port: int, ca: str) -> Iterator[Ask]:
    import asyncio

    import asyncpg

    context = ssl.create_default_context(cafile=ca)
    with asyncio.Runner() as runner:
        made = asyncpg.connect(
            host=HOST, port=port, user="seism", database="postgres", timeout=PATIENCE, ssl=context
        )
        connection = runner.run(made)

        async def count() -> object:
            return tuple(await connection.fetchrow("SELECT count(*) FROM items"))

        yield lambda: runner.run(count())
        if not connection.is_closed():
            runner.run(connection.close(timeout=PATIENCE))


@contextmanager
def pymysql_(port: int, ca: str) -> Iterator[Ask]:
    import pymysql

    with pymysql.connect(
        host=HOST, port=port, user="native", password="secret", database="test",
        connect_timeout=PATIENCE, ssl={"ca": ca, "check_hostname": True},
    ) as connection:  # fmt: skip
        yield functools.partial(_count, connection)


@contextmanager
def mysqlclient(port: int, ca: str) -> Iterator[Ask]:
    module = native.module("MySQLdb")
    connection = module.connect(
        host=HOST, port=port, user="native", passwd="secret", db="test",
        connect_timeout=PATIENCE, ssl={"ca": ca},
    )  # fmt: skip
    with contextlib.closing(connection):
        yield functools.partial(_count, connection)


def _count(connection: Any) -> object:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM items")
        return cursor.fetchone()


@contextmanager
def smtplib_(port: int, ca: str) -> Iterator[Ask]:
    import smtplib

    with smtplib.SMTP(HOST, port, local_hostname="client.example", timeout=PATIENCE) as client:
        client.starttls(context=ssl.create_default_context(cafile=ca))
        client.login("user", "secret")
        yield lambda: client.sendmail("a@example.org", ["b@example.net"], "Subject: x\r\n\r\ny\r\n")


@contextmanager
def ldap3_(port: int, ca: str) -> Iterator[Ask]:
    import ldap3

    sessions = importlib.import_module("tests.protocols.sessions.ldap")
    tls = ldap3.Tls(validate=ssl.CERT_REQUIRED, ca_certs_file=ca)
    server = ldap3.Server(HOST, port, tls=tls, get_info=ldap3.NONE)
    connection = ldap3.Connection(
        server, sessions.ADMIN, sessions.PASSWORD, receive_timeout=PATIENCE, raise_exceptions=True
    )
    try:
        connection.open()
        connection.start_tls()
        connection.bind()
        yield lambda: connection.search(sessions.BASE, "(uid=user7)") and len(connection.entries)
    finally:
        with contextlib.suppress(ldap3.core.exceptions.LDAPSocketSendError):
            connection.unbind()


@contextmanager
def python_ldap(port: int, ca: str) -> Iterator[Ask]:
    ldap = native.module("ldap")
    sessions = importlib.import_module("tests.protocols.sessions.ldap")
    connection = ldap.initialize(f"ldap://{HOST}:{port}")
    connection.set_option(ldap.OPT_NETWORK_TIMEOUT, PATIENCE)
    connection.set_option(ldap.OPT_TIMEOUT, PATIENCE)
    connection.set_option(ldap.OPT_X_TLS_CACERTFILE, ca)
    connection.set_option(ldap.OPT_X_TLS_REQUIRE_CERT, ldap.OPT_X_TLS_DEMAND)
    connection.set_option(ldap.OPT_X_TLS_NEWCTX, 0)
    connection.start_tls_s()
    connection.simple_bind_s(sessions.ADMIN, sessions.PASSWORD)
    people = f"ou=people,{sessions.BASE}"
    yield lambda: len(connection.search_s(people, ldap.SCOPE_ONELEVEL, "(uid=user7)"))
    with contextlib.suppress(ldap.LDAPError):
        connection.unbind_s()


@dataclass(frozen=True)
class Case:
    """One client, what it gets, and what it makes of a fault."""

    protocol: str
    client: Callable[..., AbstractContextManager[Ask]]
    answer: object
    fault: str
    exchange: dict[str, Any]
    raises: str
    asks: str
    """Kind of the exchange by which TLS is asked for; empty: of none that is answered."""


_PG = ("postgresql", (5,), "postgresql_deadlock", {"table": "items"}, "SSLRequest")
_MY = ("mysql", (3,), "mysql_deadlock", {"table": "items"}, "")
_SMTP = ("smtp", {}, "smtp_mailbox_busy", {"command": "MAIL"}, "STARTTLS")
_LDAP = ("ldap", 1, "ldap_busy", {"kind": "search"}, "extended")
CASES = {
    name: Case(protocol, client, answer, fault, exchange, raises, asks)
    for name, client, (protocol, answer, fault, exchange, asks), raises in (
        ("psycopg", psycopg_, _PG, "psycopg.DeadlockDetected"),
        ("pg8000", pg8000_, _PG, "pg8000.DatabaseError"),
        ("asyncpg", asyncpg_, _PG, "asyncpg.DeadlockDetectedError"),
        ("pymysql", pymysql_, _MY, "pymysql.OperationalError"),
        ("mysqlclient", mysqlclient, _MY, "MySQLdb.OperationalError"),
        ("smtplib", smtplib_, _SMTP, "smtplib.SMTPSenderRefused"),
        ("ldap3", ldap3_, _LDAP, "ldap3.LDAPBusyResult"),
        ("python-ldap", python_ldap, _LDAP, "ldap.BUSY"),
    )
}
MARKS = {
    "postgresql": [pytest.mark.debian("postgresql")],
    "mysql": [pytest.mark.debian("mariadb-server-core", "mariadb-client-core", "libmariadb-dev")],
    "ldap": [pytest.mark.debian("slapd", "libldap2-dev", "libsasl2-dev")],
}


def cases(*ways: str, answered: bool = False) -> pytest.MarkDecorator:
    """Every client in each of ``ways`` that there is for its protocol."""
    return pytest.mark.parametrize(
        ("case", "way"),
        [
            pytest.param(case, way, id=f"{name}-{way}", marks=MARKS.get(case.protocol, ()))
            for name, case in CASES.items()
            for way in ways
            if case.asks or (way == BOTH and not answered)
        ],
    )


Servers = Callable[[str], int]


@pytest.fixture(scope="module")
def servers(theirs: Tls) -> Iterator[Servers]:
    """The port of the running server of a protocol, which has TLS."""
    tls = (theirs.certificate, theirs.key)
    with contextlib.ExitStack() as stack:

        @functools.cache
        def running(protocol: str) -> int:
            if protocol == "postgresql":
                return stack.enter_context(PostgreSQL(tls)).port
            if protocol == "mysql":
                return stack.enter_context(MariaDB(tls)).port
            if protocol == "ldap":
                native.module("ldap")
            module = importlib.import_module(f"tests.protocols.sessions.{protocol}")
            return int(stack.enter_context(module.server(tls)))

        yield running


@pytest.fixture
def proxies() -> Iterator[Proxies]:
    with Proxies() as made:
        yield made


def wanted(protocol: str, port: int, way: str, ours: Tls, theirs: Tls) -> ProxySpec:
    return ProxySpec(
        "backend", f"{HOST}:{port}", protocol=protocol,
        tls=ServerTls(ours.certificate, ours.key, negotiated=True),
        upstream_tls=ClientTls(theirs.ca, negotiated=True) if way == BOTH else None,
    )  # fmt: skip


@cases(BOTH, CLIENTS)
def test_a_fault_fires_inside_of_tls(
    proxies: Proxies, servers: Servers, ours: Tls, theirs: Tls, case: Case, way: str
) -> None:
    """Before it and after it the connection works; who believes another CA gets nothing."""
    spec = wanted(case.protocol, servers(case.protocol), way, ours, theirs)
    proxy = proxies.create(spec)
    port = proxy.address[1]
    with case.client(port, ours.ca) as ask:
        assert ask() == case.answer
        proxies.add_toxic("backend", ToxicSpec(case.fault, "f", exchange=case.exchange))
        assert outcome(ask) == case.raises
        proxies.remove_toxic("backend", "f")
        assert ask() == case.answer
        with pytest.raises(Exception, match=r"(?i)certificate|verif|connect|TLS"):
            with case.client(port, theirs.ca):
                pytest.fail("the proxy was believed")
    eventually(lambda: proxy.connections == 0)
    (began,) = proxies.began
    assert began.connection == 1
    assert dict(proxy.opaque) == {}
    assert all(kind.startswith("client: ") for kind in proxy.tls_failures)


@cases(BOTH)
def test_without_it_the_connection_is_opaque_and_works(
    proxies: Proxies, servers: Servers, theirs: Tls, case: Case, way: str
) -> None:
    fault = ToxicSpec(case.fault, "f", exchange=case.exchange)
    spec = ProxySpec("backend", f"{HOST}:{servers(case.protocol)}", protocol=case.protocol)
    proxy = proxies.create(spec, [fault])
    with case.client(proxy.address[1], theirs.ca) as ask:
        assert ask() == case.answer
    eventually(lambda: proxy.connections == 0)
    assert (proxies.began, dict(proxy.opaque)) == ([], {"TLS": 1})


@cases(BOTH, CLIENTS, answered=True)
def test_who_is_told_late_begins_late(
    proxies: Proxies, servers: Servers, ours: Tls, theirs: Tls, case: Case, way: str
) -> None:
    """By a fault in the exchange that asks for TLS, and by a toxic on its bytes."""
    late = ToxicSpec("exchange_delay", "f", attributes={"delay": 150}, exchange={"nth": 1})
    if case.asks:
        late.exchange["kind"] = case.asks
    toxics = [
        ToxicSpec("latency", f"late {way}", stream=way, attributes={"latency": 20})
        for way in ("upstream", "downstream")
    ]
    spec = wanted(case.protocol, servers(case.protocol), way, ours, theirs)
    proxy = proxies.create(spec, [late, *toxics] if way == BOTH else toxics)
    with case.client(proxy.address[1], ours.ca) as ask:
        assert ask() == case.answer
    eventually(lambda: proxy.connections == 0)
    faults = [began for began in proxies.began if began.type == "exchange_delay"]
    assert [began.exchange.kind for began in faults if began.exchange] == [case.asks] * len(faults)
    assert len(faults) == (way == BOTH)
    assert (dict(proxy.opaque), proxy.tls_failures) == ({}, {})


@pytest.mark.debian("mariadb-server-core", "mariadb-client-core")
def test_a_toxic_on_bytes_does_not_let_tls_overtake_who_announces_it(
    proxies: Proxies, servers: Servers, ours: Tls, theirs: Tls
) -> None:
    toxics = [
        ToxicSpec("latency", stream="upstream", attributes={"latency": 50}),
        ToxicSpec("slicer", "slices", stream="upstream", attributes={"average_size": 5}),
    ]
    proxy = proxies.create(wanted("mysql", servers("mysql"), BOTH, ours, theirs), toxics)
    with pymysql_(proxy.address[1], ours.ca) as ask:
        assert ask() == (3,)
    assert (dict(proxy.opaque), proxy.tls_failures) == ({}, {})


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@cases(BOTH)
def test_a_backend_that_is_not_believed(
    proxies: Proxies, servers: Servers, ours: Tls, theirs: Tls, case: Case, way: str
) -> None:
    proxy = proxies.create(wanted(case.protocol, servers(case.protocol), way, ours, ours))
    with pytest.raises(Exception):  # noqa: B017 - each client has its own words for a reset
        with case.client(proxy.address[1], ours.ca):
            pytest.fail("the backend was believed")
    gc.collect()  # some clients leave the socket of a login that failed to the collector
    eventually(lambda: proxy.connections == 0)
    assert proxy.tls_failures["backend: CERTIFICATE_VERIFY_FAILED"] == 1


# PostgreSQL's own ways.


def test_postgresql_without_asking(proxies: Proxies, ours: Tls, theirs: Tls) -> None:
    """sslnegotiation=direct: the first byte is TLS, and ALPN has to say which protocol.

    No packaged server has that yet: a second proxy stands in for one's TLS.
    """
    with PostgreSQL() as server:
        last = proxies.create(
            replace(wanted("postgresql", server.port, CLIENTS, theirs, ours), name="last")
        )
        proxy = proxies.create(wanted("postgresql", last.address[1], BOTH, ours, theirs))
        with psycopg_(proxy.address[1], ours.ca, sslnegotiation="direct") as ask:
            assert ask() == (5,)
            fault = ToxicSpec("postgresql_deadlock", "f", exchange={"table": "items"})
            proxies.add_toxic("backend", fault)
            assert outcome(ask) == "psycopg.DeadlockDetected"
        eventually(lambda: proxy.connections == last.connections == 0)
    for one in (proxy, last):
        assert (dict(one.opaque), one.tls_failures) == ({}, {})


@pytest.mark.debian("postgresql")
@pytest.mark.parametrize("mode", ["disable", "prefer"])
def test_postgresql_clients_that_do_not_insist(
    proxies: Proxies, servers: Servers, ours: Tls, theirs: Tls, mode: str
) -> None:
    proxy = proxies.create(wanted("postgresql", servers("postgresql"), BOTH, ours, theirs))
    proxies.add_toxic("backend", ToxicSpec("postgresql_deadlock", "f", exchange={"nth": 1}))
    with psycopg_(proxy.address[1], ours.ca, sslmode=mode) as ask:
        assert outcome(ask) == "psycopg.DeadlockDetected"
        assert ask() == (5,)
    assert dict(proxy.opaque) == {}


def test_a_postgresql_server_that_refuses(proxies: Proxies, ours: Tls, theirs: Tls) -> None:
    """It goes on without TLS, as both of them agree on, and is understood."""
    with PostgreSQL() as server:
        proxy = proxies.create(wanted("postgresql", server.port, BOTH, ours, theirs))
        proxies.add_toxic("backend", ToxicSpec("postgresql_deadlock", "f", exchange={"nth": 1}))
        with psycopg_(proxy.address[1], ours.ca, sslmode="prefer") as ask:
            assert outcome(ask) == "psycopg.DeadlockDetected"
            assert ask() == (5,)
        with pytest.raises(Exception, match="does not support SSL"):
            with psycopg_(proxy.address[1], ours.ca):
                pytest.fail("there is no TLS")
        eventually(lambda: proxy.connections == 0)
    assert (dict(proxy.opaque), proxy.tls_failures) == ({}, {})


def test_a_server_without_tls_has_it_by_the_proxy(proxies: Proxies, ours: Tls, theirs: Tls) -> None:
    """Inside of TLS are, byte for byte, the bytes that there are without it."""
    with PostgreSQL() as server, relay(server.port) as inside, relay(server.port) as plain:
        spec = wanted("postgresql", inside.port, CLIENTS, ours, theirs)
        never = ToxicSpec("exchange_close", exchange={"kind": "never"})
        proxy = proxies.create(spec, [never])
        with psycopg_(proxy.address[1], ours.ca) as ask:
            assert ask() == (5,)
        with psycopg_(plain.port, ours.ca, sslmode="disable") as ask:
            assert ask() == (5,)
        eventually(lambda: proxy.connections == 0)
    assert [client for client, _ in inside.said()] == [client for client, _ in plain.said()]
    assert {len(server) for _, server in inside.said()} == {len(s) for _, s in plain.said()}


@pytest.mark.parametrize("negotiation", ["postgres", "direct"])
def test_a_client_that_asks_before_the_backend_is_dialled(
    proxies: Proxies, ours: Tls, theirs: Tls, negotiation: str
) -> None:
    with PostgreSQL() as server:
        late = ToxicSpec("connect_delay", attributes={"delay": 150})
        proxy = proxies.create(wanted("postgresql", server.port, CLIENTS, ours, theirs), [late])
        with psycopg_(proxy.address[1], ours.ca, sslnegotiation=negotiation) as ask:
            fault = ToxicSpec("postgresql_deadlock", "f", exchange={"nth": 1})
            proxies.add_toxic("backend", fault)
            assert outcome(ask) == "psycopg.DeadlockDetected"
            assert ask() == (5,)
        eventually(lambda: proxy.connections == 0)
    assert (dict(proxy.opaque), proxy.tls_failures) == ({}, {})


def test_plaintext_behind_the_request_is_not_taken_for_what_is_inside(
    proxies: Proxies, servers: Servers, ours: Tls, theirs: Tls
) -> None:
    """Whoever slips a command in before TLS begins has broken TLS, and no more (RFC 3207, 6)."""
    proxy = proxies.create(wanted("smtp", servers("smtp"), CLIENTS, ours, theirs))
    with socket.create_connection((HOST, proxy.address[1]), PATIENCE) as client:
        lines = client.makefile("rb")
        assert lines.readline().startswith(b"220")
        client.sendall(b"STARTTLS\r\nMAIL FROM:<mallory@example.org>\r\n")
        assert lines.readline().startswith(b"220")
        assert not lines.read().startswith(b"250")
    eventually(lambda: proxy.connections == 0)
    assert sum(proxy.tls_failures.values()) == 1


@pytest.mark.debian("postgresql")
def test_a_client_that_goes_away_instead(
    proxies: Proxies, servers: Servers, ours: Tls, theirs: Tls
) -> None:
    proxy = proxies.create(wanted("postgresql", servers("postgresql"), BOTH, ours, theirs))
    with socket.create_connection((HOST, proxy.address[1]), PATIENCE) as client:
        client.sendall(struct.pack(">II", 8, 80877103))
        assert client.recv(2) == b"S"
    eventually(lambda: proxy.connections == 0)


# What can't be.


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"protocol": "redis", "tls": True}, "redis is not one"),
        ({"tls": True}, "none is not one"),
        ({"protocol": "mysql", "tls": True}, "needs upstream_tls.negotiated"),
        ({"protocol": "smtp", "upstream_tls": True}, "needs tls.negotiated"),
    ],
)
def test_what_can_not_be_negotiated_is_said(
    proxies: Proxies, ours: Tls, theirs: Tls, spec: dict[str, Any], words: str
) -> None:
    tls = ServerTls(ours.certificate, ours.key, negotiated=True) if "tls" in spec else None
    upstream = ClientTls(theirs.ca, negotiated=True) if "upstream_tls" in spec else None
    made = ProxySpec(
        "a", f"{HOST}:1", protocol=spec.get("protocol", ""), tls=tls, upstream_tls=upstream
    )
    with pytest.raises(ConfigurationError, match=words):
        proxies.create(made)


def test_its_protocol_stays_one_that_negotiates(proxies: Proxies, ours: Tls, theirs: Tls) -> None:
    proxies.create(wanted("smtp", 1, CLIENTS, ours, theirs))
    with pytest.raises(ConfigurationError, match="redis is not one"):
        proxies.update("backend", protocol="redis")
    assert proxies.get("backend").spec.protocol == "smtp"
