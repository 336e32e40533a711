"""Every fault of MySQL between a real MariaDB and two drivers, beside the server's own errors."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from seism.model import ToxicSpec
from seism.protocols.mysql import MySQL as Codec
from seism.protocols.mysql_faults import MySQLError
from tests.databases import MARIADB, MariaDB
from tests.processes import until
from tests.protocols.behind import Behind, behind
from tests.protocols.clients_sql import INSERT, MYSQL, Client, PyMySQL, committed, connected, marked
from tests.protocols.outcome import check
from tests.protocols.sessions.mysql import SESSIONS, prepare, rows
from tests.protocols.transparent import assert_transparent

pytestmark = [
    pytest.mark.debian("mariadb-server-core", "mariadb-client-core"),
    pytest.mark.debian("libmariadb-dev", "pkg-config", "gcc"),  # for mysqlclient
]
CLIENTS = pytest.mark.parametrize("client", MYSQL, ids=lambda client: str(client.name))
FAILS = sorted(fault.type for fault in Codec.faults if issubclass(fault, MySQLError))
REFUSES = ("mysql_too_many_connections", "mysql_access_denied")
ENDS = ("mysql_shutdown", "mysql_killed", "mysql_lost_connection")
OTHERS = ("mysql_gone_away", "mysql_commit_lost")
UPDATE = "UPDATE items SET name = %s WHERE id = 1"


@pytest.fixture(scope="module")
def server() -> Iterator[MariaDB]:
    with MariaDB() as made:
        with connected(PyMySQL, made.port) as admin:
            admin.run("CREATE USER plain")
            admin.run("GRANT ALL ON test.* TO plain")
        yield made


@pytest.fixture
def db(server: MariaDB) -> Iterator[Behind]:
    with behind("mysql", server.port) as made:
        yield made


def test_every_fault_is_tried() -> None:
    assert {*FAILS, *REFUSES, *ENDS, *OTHERS} == {fault.type for fault in Codec.faults}
    (mark, _) = pytestmark
    assert mark.args == MARIADB


# The server's own errors: what ``client`` raises for them.


def session(client: Any) -> int:
    ((number,),) = client.run("SELECT connection_id()")
    return int(number)


def state(admin: Client, number: int) -> Any:
    """What a session is doing: None if it is gone, "" if nothing."""
    found = admin.run(
        f"SELECT coalesce(state, '') FROM information_schema.processlist WHERE id = {number}"
    )
    return found[0][0] if found else None


def later(condition: Callable[[Client], object], statement: str, port: int) -> threading.Thread:
    """Run ``statement`` in a session of its own once ``condition`` holds."""

    def run() -> None:
        with connected(PyMySQL, port) as admin:
            until(lambda: condition(admin))
            admin.run(statement)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def lock_wait(client: type[Client], port: int) -> str:
    with connected(client, port) as one, connected(PyMySQL, port) as other:
        one.run("SET innodb_lock_wait_timeout = 0")
        other.run("BEGIN")
        other.run(UPDATE, "other")
        return str(one.fails(UPDATE, "one"))


def deadlock(client: type[Client], port: int) -> str:
    with connected(client, port) as one, connected(PyMySQL, port) as other:
        # The one that has changed less gives way.
        other.run("BEGIN")
        other.run(UPDATE, "other")
        other.run("UPDATE items SET name = 'other' WHERE id = 2")
        one.run("BEGIN")
        one.run("UPDATE items SET name = 'one' WHERE id = 3")
        waits = threading.Thread(
            target=other.run, args=("UPDATE items SET name = 'other' WHERE id = 3",)
        )
        waits.start()
        with connected(PyMySQL, port) as admin:
            until(lambda: admin.run("SELECT 1 FROM information_schema.innodb_lock_waits"))
        raised = str(one.fails(UPDATE, "one"))
        waits.join(20)
        return raised


def read_only(client: type[Client], port: int) -> str:
    with connected(PyMySQL, port) as admin, connected(client, port, user="plain") as one:
        admin.run("SET GLOBAL read_only = 1")
        try:
            return str(one.fails(UPDATE, "one"))
        finally:
            admin.run("SET GLOBAL read_only = 0")


def busy(kill: str, client: type[Client], port: int) -> str:
    with connected(client, port) as one:
        number = session(one)
        thread = later(lambda admin: state(admin, number) == "User lock", f"{kill} {number}", port)
        with connected(PyMySQL, port) as holder:
            holder.run("SELECT get_lock('test', 20)")
            raised = str(one.fails("SELECT get_lock('test', 20), id FROM items"))
        thread.join(20)
        return raised


def table_full(client: type[Client], port: int) -> str:
    with connected(client, port) as one:
        one.run("SET SESSION max_heap_table_size = 16384")
        one.run("CREATE TEMPORARY TABLE small (a VARCHAR(4000)) ENGINE = MEMORY")
        for _ in range(100):
            raised = one.fails("INSERT INTO small VALUES (repeat('x', 4000))")
            if raised:
                return str(raised)
        return ""


def too_many(client: type[Client], port: int) -> str:
    with connected(PyMySQL, port) as admin, ExitStack() as taken:
        admin.run("SET GLOBAL max_connections = 10")
        try:
            while _greeted(taken, port):
                pass
            return client.refused(port)
        finally:
            admin.run("SET GLOBAL max_connections = 151")


def _greeted(taken: ExitStack, port: int) -> bool:
    sock = taken.enter_context(socket.create_connection(("127.0.0.1", port), 20))
    return sock.recv(1000)[4] != 0xFF


def denied(client: type[Client], port: int) -> str:
    return client.refused(port, user="native", password="wrong")


def gone_away(client: type[Client], port: int) -> str:
    with connected(client, port) as one, connected(PyMySQL, port) as admin:
        number = session(one)
        one.run("SET SESSION wait_timeout = 1")
        until(lambda: state(admin, number) is None)
        return str(one.fails("SELECT 1"))


REAL: dict[str, Callable[[type[Client], int], str]] = {
    "mysql_lock_wait_timeout": lock_wait,
    "mysql_deadlock": deadlock,
    "mysql_read_only": read_only,
    "mysql_query_interrupted": lambda client, port: busy("KILL QUERY", client, port),
    "mysql_table_full": table_full,
    "mysql_too_many_connections": too_many,
    "mysql_access_denied": denied,
    "mysql_gone_away": gone_away,
    "mysql_lost_connection": lambda client, port: busy("KILL", client, port),
}


def row(fault: str, client: type[Client], port: int, raised: str, after: str) -> None:
    real = REAL[fault](client, port) if fault in REAL else ""
    assert raised
    if real:
        assert raised == real
    check("mysql", fault, str(client.name), raises=raised, real=real, after=after)


@CLIENTS
@pytest.mark.parametrize("fault", FAILS)
def test_a_statement_fails(fault: str, client: type[Client], db: Behind) -> None:
    with connected(client, db.port) as victim:
        victim.run("SELECT 1")
        with db.fault(fault, {"table": "items"}):
            raised = victim.fails(UPDATE, "changed")
        exchange, ended = db.one()
        assert (exchange.kind, exchange.summary) == ("UPDATE", "UPDATE items")
        assert ended.outcome == "changed"
        assert victim.run("SELECT count(*) FROM items WHERE name = 'changed'") == [(0,)]
    with connected(client, db.port) as another:
        assert another.run("SELECT 1") == [(1,)]
    row(fault, client, db.server, raised, "the same connection works")


@CLIENTS
@pytest.mark.parametrize("fault", REFUSES)
def test_a_connection_is_refused(fault: str, client: type[Client], db: Behind) -> None:
    with db.fault(fault):
        raised = client.refused(db.port)
    exchange, _ = db.one()
    assert exchange.kind == ("greeting" if fault == "mysql_too_many_connections" else "login")
    with connected(client, db.port) as another:
        assert another.run("SELECT 1") == [(1,)]
    row(fault, client, db.server, raised, "a new connection works")


def test_the_words_at_the_door_are_the_servers(db: Behind) -> None:
    with connected(PyMySQL, db.server) as admin, ExitStack() as taken:
        admin.run("SET GLOBAL max_connections = 10")
        try:
            while _greeted(taken, db.server):
                pass
            with socket.create_connection(("127.0.0.1", db.server), 20) as sock:
                genuine = sock.recv(1000)
        finally:
            admin.run("SET GLOBAL max_connections = 151")
    with db.fault("mysql_too_many_connections"):
        with socket.create_connection(("127.0.0.1", db.port), 20) as sock:
            assert sock.recv(1000) == genuine
            assert sock.recv(1) == b""


@CLIENTS
@pytest.mark.parametrize("fault", ENDS)
def test_a_session_ends_and_the_server_rolls_back(
    fault: str, client: type[Client], db: Behind
) -> None:
    with connected(client, db.port) as victim:
        victim.run("BEGIN")
        victim.run(INSERT)
        with db.fault(fault):
            raised = victim.fails("SELECT count(*) FROM items")
        exchange, ended = db.one()
        assert (exchange.kind, ended.outcome) == ("SELECT", "closed")
        assert victim.fails("SELECT 1")
    assert not marked(client, db.port)
    row(fault, client, db.server, raised, "a new connection works")


@CLIENTS
def test_a_session_is_gone_when_it_is_used_again(client: type[Client], db: Behind) -> None:
    with connected(client, db.port) as victim:
        with db.fault("mysql_gone_away", {"kind": "SELECT"}):
            assert victim.run("SELECT id FROM items WHERE id = 2") == [(2,)]
            db.one()
        raised = victim.fails("SELECT 1")
    with connected(client, db.port) as another:
        assert another.run("SELECT 1") == [(1,)]
    row("mysql_gone_away", client, db.server, raised, "a new connection works")


@CLIENTS
@pytest.mark.parametrize("reset", [False, True])
def test_a_commit_is_carried_out_and_its_reply_is_lost(
    reset: bool, client: type[Client], db: Behind
) -> None:
    with connected(client, db.port) as victim:
        victim.run("BEGIN")
        victim.run(INSERT)
        with db.fault("mysql_commit_lost", reset=reset):
            raised = victim.fails("COMMIT")
        assert db.one()[0].kind == "COMMIT"
    committed(client, db.port)
    if not reset:
        row("mysql_commit_lost", client, db.server, raised, "a new connection works")


# What the session and the server make of it must be the same.


@CLIENTS
def test_only_statements_of_a_shape(client: type[Client], db: Behind) -> None:
    shape = {"regex": r"^update items set name = \? where"}
    with db.fault("mysql_lock_wait_timeout", shape), connected(client, db.port) as one:
        assert one.run("SELECT name FROM items WHERE id = 1") != []
        assert one.fails("UPDATE items SET name = concat(name, 'secret') WHERE id = 17") == ""
        assert one.fails('UPDATE items  SET name = "it\'s secret" WHERE id = 17') != ""
    exchange, _ = db.one()
    assert (exchange.kind, exchange.summary) == ("UPDATE", "UPDATE items")
    assert "secret" not in repr(db.proxies.records)


@CLIENTS
def test_a_deadlock_rolls_the_transaction_back(client: type[Client], db: Behind) -> None:
    with connected(client, db.port) as victim:
        victim.run("BEGIN")
        victim.run(INSERT)
        with db.fault("mysql_deadlock"):
            assert victim.fails(UPDATE, "changed").endswith("1213")
        # No transaction is open: nothing that follows is part of it.
        assert victim.run("SELECT @@in_transaction") == [(0,)]
        assert victim.run("SELECT count(*) FROM items WHERE id = 1000") == [(0,)]
        victim.run("COMMIT")
    assert not marked(client, db.port)


@CLIENTS
@pytest.mark.parametrize("fault", sorted({*FAILS} - {"mysql_deadlock"}))
def test_any_other_error_leaves_the_transaction(
    fault: str, client: type[Client], db: Behind
) -> None:
    with connected(client, db.port) as victim:
        victim.run("BEGIN")
        victim.run(INSERT)
        with db.fault(fault):
            assert victim.fails(UPDATE, "changed")
        assert victim.run("SELECT @@in_transaction") == [(1,)]
        victim.run("COMMIT")
    assert marked(client, db.port)


def test_a_statement_that_is_prepared_already(db: Behind) -> None:
    with connected(PyMySQL, db.port) as victim:
        connection = victim._connection
        number = prepare(connection, "SELECT id FROM items WHERE id < ?")
        execute = struct.pack("<iBi", number, 0, 1) + struct.pack("<BBBBi", 0, 1, 3, 0, 9)
        with db.fault("mysql_query_interrupted", {"command": "COM_STMT_EXECUTE", "table": "items"}):
            connection._execute_command(0x17, execute)
            with pytest.raises(PyMySQL.errors, match="interrupted"):
                connection._read_packet()
        connection._execute_command(0x17, execute)
        rows(connection)
        assert victim.run("SELECT 1") == [(1,)]


@CLIENTS
def test_statements_and_rows_of_more_than_16_mebibytes(client: type[Client], db: Behind) -> None:
    """One of them is refused: all of its packets are kept from the server."""
    size = (1 << 24) + 1000
    with connected(client, db.port) as victim:
        victim.run("SELECT 1")
        with db.fault("mysql_table_full", {"sql": "SELECT length(*"}):
            assert victim.fails("SELECT length(%s)", "x" * size).endswith("1114")
        assert victim.run("SELECT length(%s)", "x" * size) == [(size,)]
        ((value,),) = victim.run(f"SELECT repeat('y', {size})")
        assert len(value) == size
        with db.fault("mysql_table_full", {"sql": "never"}):
            ((value,),) = victim.run(f"SELECT repeat('z', {size})")
        assert value == "z" * size


# Nothing that is not asked for.


@pytest.mark.parametrize(
    "name",
    # Salts and statements' ids differ each time, and a temporary file's name.
    sorted(set(SESSIONS) - {
        "pymysql_native", "pymysql_wrong_password", "pymysql_local_infile", "mariadb_tool",
        "mysqlclient_compressed", "mysqlclient_statements", "raw_prepared",
    }),
)  # fmt: skip
def test_a_client_and_its_server_see_no_difference(name: str, server: MariaDB) -> None:
    never = ToxicSpec("mysql_deadlock", exchange={"table": "never"})

    def again(port: int) -> None:
        SESSIONS[name].run(port)
        with connected(PyMySQL, server.port) as direct:
            direct.run("DELETE FROM items WHERE id > 3")

    assert_transparent(server.port, "mysql", never, again)


@pytest.mark.parametrize(
    "name",
    ["pymysql_local_infile", "mysqlclient_statements", "mariadb_tool", "raw_prepared"],
)
def test_sessions_that_differ_each_time(name: str, db: Behind) -> None:
    with db.fault("mysql_deadlock", {"table": "never"}):
        SESSIONS[name].run(db.port)
    assert dict(db.proxy.opaque) == {}
    with connected(PyMySQL, db.server) as direct:
        assert direct.run("SELECT count(*) FROM items WHERE id = 300") == [
            (int(name == "pymysql_local_infile"),)
        ]
        direct.run("DELETE FROM items WHERE id > 3")


def test_compression_goes_on_opaque(db: Behind) -> None:
    with db.fault("mysql_deadlock", {"table": "never"}):
        SESSIONS["mysqlclient_compressed"].run(db.port)
    until(lambda: db.proxy.connections == 0)
    assert dict(db.proxy.opaque) == {"compression": 1}
