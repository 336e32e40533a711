"""Every fault of PostgreSQL between a real server and three drivers, beside its own errors."""

from __future__ import annotations

import functools
import os
import signal
import threading
from collections.abc import Callable, Iterator

import asyncpg.connection
import psycopg
import pytest

from seism.model import ToxicSpec
from seism.protocols.postgresql import PostgreSQL as Codec
from seism.protocols.postgresql_faults import PostgreSQLError
from tests.databases import PostgreSQL
from tests.processes import until
from tests.protocols.behind import Behind, behind
from tests.protocols.clients_sql import (
    INSERT,
    POSTGRESQL,
    Asyncpg,
    Client,
    Psycopg,
    committed,
    connected,
    marked,
)
from tests.protocols.outcome import check
from tests.protocols.sessions.postgresql import SESSIONS
from tests.protocols.transparent import assert_transparent

CLIENTS = pytest.mark.parametrize("client", POSTGRESQL, ids=lambda client: str(client.name))
FAILS = sorted(fault.type for fault in Codec.faults if issubclass(fault, PostgreSQLError))
REFUSES = ("postgresql_starting_up", "postgresql_too_many_connections")
ENDS = ("postgresql_admin_shutdown", "postgresql_connection_failure")
OTHERS = ("postgresql_commit_lost", "postgresql_notice")
UPDATE = "UPDATE items SET name = $1 WHERE id = 1"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQL]:
    with PostgreSQL() as made:
        yield made


@pytest.fixture
def db(server: PostgreSQL) -> Iterator[Behind]:
    with behind("postgresql", server.port) as made:
        yield made


def test_every_fault_is_tried() -> None:
    assert {*FAILS, *REFUSES, *ENDS, *OTHERS} == {fault.type for fault in Codec.faults}


# The server's own errors: what ``client`` raises for them.


def serialization(client: type[Client], port: int) -> str:
    with connected(client, port) as one, connected(client, port) as other:
        one.run("BEGIN ISOLATION LEVEL REPEATABLE READ")
        one.run("SELECT * FROM items")
        other.run(UPDATE, "other")
        return str(one.fails(UPDATE, "one"))


def deadlock(client: type[Client], port: int) -> str:
    with connected(client, port) as one, connected(Psycopg, port) as other:
        # Who looks for deadlocks first is who finds it, and gives way.
        one.run("SET deadlock_timeout = '1ms'")
        other.run("SET deadlock_timeout = '60s'")
        one.run("BEGIN")
        other.run("BEGIN")
        one.run("UPDATE items SET name = 'one' WHERE id = 2")
        other.run("UPDATE items SET name = 'other' WHERE id = 1")
        waits = "UPDATE items SET name = 'other' WHERE id = 2"
        thread = threading.Thread(target=other.run, args=(waits,))
        thread.start()
        with connected(Psycopg, port) as admin:
            until(
                lambda: admin.run("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
            )
        raised = str(one.fails(UPDATE, "one"))
        thread.join(20)
        return raised


def canceled(client: type[Client], port: int) -> str:
    with connected(client, port) as one:
        one.run("SET statement_timeout = 20")
        return str(one.fails("SELECT pg_sleep($1::float8)", 20.0))


def read_only(client: type[Client], port: int) -> str:
    with connected(client, port) as one:
        one.run("SET default_transaction_read_only = on")
        return str(one.fails(UPDATE, "one"))


def terminated(client: type[Client], port: int) -> str:
    with connected(client, port) as one, connected(Psycopg, port) as admin:
        ((pid,),) = one.run("SELECT pg_backend_pid()")

        def terminate() -> None:
            sleeping = f"SELECT 1 FROM pg_stat_activity WHERE pid = {pid} AND state = 'active'"
            until(lambda: admin.run(sleeping))
            admin.run(f"SELECT pg_terminate_backend({pid})")

        thread = threading.Thread(target=terminate)
        thread.start()
        raised = str(one.fails("SELECT pg_sleep(20)"))
        thread.join(20)
        return raised


@functools.cache
def shutting_down() -> dict[type[Client], str]:
    """It has the code of starting up, and can be provoked: a smart shutdown waits for sessions."""
    with PostgreSQL() as own, connected(Psycopg, own.port):
        assert own._process is not None
        os.kill(own._process.pid, signal.SIGTERM)
        until(lambda: Psycopg.refused(own.port))
        return {client: client.refused(own.port) for client in POSTGRESQL}


@functools.cache
def full() -> dict[type[Client], str]:
    settings = {"max_connections": "5", "superuser_reserved_connections": "0"}
    with PostgreSQL(**settings, max_wal_senders="0") as own:
        taken = [Psycopg(own.port) for _ in range(5)]
        raised = {client: client.refused(own.port) for client in POSTGRESQL}
        for one in taken:
            one.close()
        return raised


REAL: dict[str, Callable[[type[Client], int], str]] = {
    "postgresql_serialization_failure": serialization,
    "postgresql_deadlock": deadlock,
    "postgresql_query_canceled": canceled,
    "postgresql_read_only": read_only,
    "postgresql_admin_shutdown": terminated,
    "postgresql_starting_up": lambda client, _: shutting_down()[client],
    "postgresql_too_many_connections": lambda client, _: full()[client],
}
"""Not a full disk, nor a pooler that loses its server."""


def row(fault: str, client: type[Client], port: int, raised: str, after: str) -> None:
    real = REAL[fault](client, port) if fault in REAL else ""
    assert raised
    if real:
        assert raised == real
    check("postgresql", fault, str(client.name), raises=raised, real=real, after=after)


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
        assert victim.run("SELECT 1") == [(1,)]
        assert victim.run("SELECT count(*) FROM items WHERE name = $1", "changed") == [(0,)]
    with connected(client, db.port) as another:
        assert another.run("SELECT 1") == [(1,)]
    row(fault, client, db.server, raised, "the same connection works")


@CLIENTS
@pytest.mark.parametrize("fault", REFUSES)
def test_a_connection_is_refused(fault: str, client: type[Client], db: Behind) -> None:
    with db.fault(fault):
        raised = client.refused(db.port)
    exchange, _ = db.one()
    assert exchange.kind == "startup"
    with connected(client, db.port) as another:
        assert another.run("SELECT 1") == [(1,)]
    row(fault, client, db.server, raised, "a new connection works")


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
@pytest.mark.parametrize("reset", [False, True])
def test_a_commit_is_carried_out_and_its_reply_is_lost(
    reset: bool, client: type[Client], db: Behind
) -> None:
    with connected(client, db.port) as victim:
        victim.run("BEGIN")
        victim.run(INSERT)
        with db.fault("postgresql_commit_lost", reset=reset):
            raised = victim.fails("COMMIT")
        assert db.one()[0].kind == "COMMIT"
    committed(client, db.port)
    if not reset:
        row("postgresql_commit_lost", client, db.server, raised, "a new connection works")


@CLIENTS
def test_only_statements_of_a_shape(client: type[Client], db: Behind) -> None:
    """Values are no part of it, whichever way they are sent, and no part of the record."""
    shape = {"regex": r"^update items set name = \? where .* = \?$"}
    with db.fault("postgresql_deadlock", shape), connected(client, db.port) as one:
        assert one.run("SELECT name FROM items WHERE id = 1") != []
        assert one.fails("UPDATE items SET name = 'update items' || name WHERE id = 1") == ""
        assert one.fails("UPDATE  items SET name = 'it''s secret' /* x */ WHERE id = 17") != ""
    exchange, _ = db.one()
    assert (exchange.kind, exchange.summary) == ("UPDATE", "UPDATE items")
    assert "secret" not in repr(db.proxies.records)


@CLIENTS
def test_a_notice_disturbs_nobody(client: type[Client], db: Behind) -> None:
    with connected(client, db.port) as victim, db.fault("postgresql_notice", {"first": 2}):
        assert victim.run("SELECT name FROM items WHERE id = $1", 3) == [("item 3",)]
        assert victim.run("SELECT 1") == [(1,)]
    assert len(db.proxies.ended(2)) == 2


def test_a_notice_is_heard(db: Behind) -> None:
    heard: list[str | None] = []
    with connected(Psycopg, db.port) as victim, db.fault("postgresql_notice", text="beware"):
        victim._connection.add_notice_handler(lambda said: heard.append(said.message_primary))
        victim.run("SELECT 1")
    assert heard == ["beware"]


# What the session and the server make of it must be the same.


@CLIENTS
@pytest.mark.parametrize("values", [("changed",), ()], ids=["extended", "simple"])
def test_in_a_transaction_it_aborts_the_servers_too(
    values: tuple[str, ...], client: type[Client], db: Behind
) -> None:
    update = UPDATE if values else UPDATE.replace("$1", "'changed'")
    with connected(client, db.port) as victim:
        victim.run("BEGIN")
        victim.run(INSERT)
        with db.fault("postgresql_deadlock"):
            assert victim.fails(update, *values).endswith("40P01")
        assert victim.fails("SELECT 1").endswith("25P02")
        with db.fault("postgresql_disk_full"):
            assert victim.fails(update, *values).endswith("25P02")
        assert [ended.outcome for ended in db.proxies.ended(2)] == ["changed", "passed"]
        victim.run("ROLLBACK")
        assert victim.run("SELECT 1") == [(1,)]
    assert not marked(client, db.port)


@CLIENTS
def test_a_commit_that_fails_has_rolled_back(client: type[Client], db: Behind) -> None:
    with connected(client, db.port) as victim:
        victim.run("BEGIN")
        victim.run(INSERT)
        with db.fault("postgresql_serialization_failure", {"kind": "COMMIT"}):
            assert victim.fails("COMMIT").endswith("40001")
        # No transaction is open, on either side.
        assert victim.run("SELECT 1") == [(1,)]
        victim.run("BEGIN")
        victim.run("ROLLBACK")
    assert not marked(client, db.port)


def test_what_a_failed_commit_undoes_is_told(db: Behind) -> None:
    """A parameter that goes back with the transaction does so for the client, too."""
    with connected(Psycopg, db.port) as victim:
        usual = victim._connection.info.parameter_status("TimeZone")
        victim.run("BEGIN")
        victim.run("SET TIME ZONE 'Asia/Tokyo'")
        assert victim._connection.info.parameter_status("TimeZone") == "Asia/Tokyo"
        with db.fault("postgresql_serialization_failure", {"kind": "COMMIT"}):
            assert victim.fails("COMMIT")
        assert victim._connection.info.parameter_status("TimeZone") == usual


def test_a_statement_that_is_prepared_already(db: Behind) -> None:
    with connected(Asyncpg, db.port) as victim:
        victim.run(UPDATE, "before")
        with db.fault("postgresql_disk_full", {"kind": "UPDATE"}):
            assert victim.fails(UPDATE, "changed").endswith("53100")
        exchange, _ = db.one()
        assert exchange.phase == "command"
        victim.run(UPDATE, "after")
        assert victim.run("SELECT name FROM items WHERE id = 1") == [("after",)]


def test_in_a_pipeline_only_its_part_fails(db: Behind) -> None:
    with connected(Psycopg, db.port) as victim:
        connection = victim._connection
        with connection.pipeline() as pipeline:
            connection.execute("UPDATE items SET name = 'first' WHERE id = 2")
            pipeline.sync()
            with db.fault("postgresql_deadlock", {"kind": "DELETE"}):
                connection.execute("DELETE FROM items")
                connection.execute("UPDATE items SET name = 'second' WHERE id = 2")
                with pytest.raises(psycopg.errors.DeadlockDetected):
                    pipeline.sync()
                    connection.execute("SELECT 1").fetchone()
        assert victim.run("SELECT name FROM items WHERE id = 2") == [("first",)]
        assert victim.run("SELECT count(*) > 4 FROM items") == [(True,)]


@pytest.mark.parametrize("client", [Psycopg, Asyncpg])
def test_a_copy_fails_before_its_data(client: type[Client], db: Behind) -> None:
    with connected(client, db.port) as victim:
        with db.fault("postgresql_disk_full", {"kind": "COPY"}):
            if isinstance(victim, Psycopg):
                with pytest.raises(psycopg.errors.DiskFull):
                    with victim._connection.cursor().copy("COPY items FROM STDIN") as copy:
                        copy.write_row((2000, "never"))
            else:
                rows = [(2000, "never")]
                told = victim._connection.copy_records_to_table("items", records=rows)
                with pytest.raises(Exception, match="No space left"):
                    victim._loop.run_until_complete(told)
        assert victim.run("SELECT count(*) FROM items WHERE id = 2000") == [(0,)]


# Nothing that is not asked for.


@pytest.mark.parametrize(
    "name",
    sorted(set(SESSIONS) - {
        # Salts, keys and positions differ each time, and so does what is in time.
        "psycopg_scram", "psycopg_md5", "pg8000_statements", "psycopg_cancel",
        "psycopg_wrong_password", "psycopg_replication", "raw_encryption_requests",
    }),
)  # fmt: skip
def test_a_client_and_its_server_see_no_difference(name: str, server: PostgreSQL) -> None:
    never = ToxicSpec("postgresql_deadlock", exchange={"table": "never"})
    talk = SESSIONS[name].run

    def again(port: int) -> None:
        # It numbers its statements across connections.
        asyncpg.connection._uid = 0
        talk(port)
        with connected(Psycopg, server.port) as direct:
            direct.run("DELETE FROM items WHERE id > 5")

    # libpq flushes a pipeline when it can, and so says the same in one piece or in two.
    ways = 8 if name == "psycopg_pipeline" else 1
    assert_transparent(server.port, "postgresql", never, again, ways)


def test_copy_both_goes_on_opaque(db: Behind) -> None:
    with db.fault("postgresql_notice", {"kind": "NEVER"}):
        SESSIONS["psycopg_replication"].run(db.port)
    until(lambda: db.proxy.connections == 0)
    assert dict(db.proxy.opaque) == {"COPY BOTH": 1}
