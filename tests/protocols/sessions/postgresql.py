"""What real PostgreSQL clients did while they were recorded, and which exchanges that is."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg
import pg8000.native
import psycopg

from tests.databases import PostgreSQL
from tests.protocols.record import Sessions

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"

SESSIONS = Sessions()


@contextmanager
def server() -> Iterator[int]:
    """The port of a server of its own."""
    with PostgreSQL() as running:
        yield running.port


def _psycopg(port: int, user: str = "seism", **options: Any) -> psycopg.Connection[Any]:
    return psycopg.connect(
        host="127.0.0.1", port=port, user=user, dbname="postgres", password="secret",
        **{"sslmode": "disable", "gssencmode": "disable", **options},
    )  # fmt: skip


@SESSIONS.add(
    "psycopg_statements",
    "SSLRequest startup BEGIN SELECT SELECT INSERT COMMIT BEGIN SELECT ROLLBACK Terminate",
)
def _(port: int) -> None:
    with _psycopg(port, sslmode="prefer") as connection:
        connection.execute("SELECT 1")
        connection.execute("SELECT id, name FROM items WHERE name = %s", ["item 2"]).fetchall()
        connection.execute("INSERT INTO items VALUES (%s, %s)", [100, "hundred"])
        connection.commit()
        try:
            connection.execute("SELECT 1 / 0")
        except psycopg.errors.DivisionByZero:
            connection.rollback()


@SESSIONS.add("psycopg_scram", "startup password password SELECT Terminate")
def _(port: int) -> None:
    with _psycopg(port, "scram", autocommit=True) as connection:
        connection.execute("SELECT 1")


@SESSIONS.add("psycopg_md5", "startup password SELECT Terminate")
def _(port: int) -> None:
    with _psycopg(port, "md5", autocommit=True) as connection:
        connection.execute("SELECT 1")


@SESSIONS.add("psycopg_cleartext", "startup password SELECT Terminate")
def _(port: int) -> None:
    with _psycopg(port, "plain", autocommit=True) as connection:
        connection.execute("SELECT 1")


@SESSIONS.add("psycopg_wrong_password", "startup password")
def _(port: int) -> None:
    try:
        psycopg.connect(
            host="127.0.0.1", port=port, user="md5", dbname="postgres", password="wrong",
            sslmode="disable", gssencmode="disable",
        )  # fmt: skip
    except psycopg.OperationalError:
        pass


@SESSIONS.add(
    "psycopg_prepared", "startup SELECT SELECT SELECT SELECT DEALLOCATE DEALLOCATE Terminate"
)
def _(port: int) -> None:
    with _psycopg(port, autocommit=True) as connection:
        # Parse and Sync, then Bind, Execute and Sync; the last three go by the name.
        for number in range(3):
            connection.execute("SELECT name FROM items WHERE id = %s", [number], prepare=True)
        connection.execute("DEALLOCATE ALL")


@SESSIONS.add("psycopg_copy", "startup COPY CopyData SELECT COPY COPY CopyData Terminate")
def _(port: int) -> None:
    with _psycopg(port, autocommit=True) as connection:
        with connection.cursor() as cursor:
            with cursor.copy("COPY items FROM STDIN") as copy:
                for number in range(200, 400):
                    copy.write_row((number, "copied " * 10))
            cursor.execute("SELECT count(*) FROM items")
            with cursor.copy("COPY (SELECT * FROM items ORDER BY id) TO STDOUT") as copy:
                for _ in copy:
                    pass
            try:
                with cursor.copy("COPY items FROM STDIN") as copy:
                    copy.write("no number\n")
            except psycopg.errors.DataError:
                pass


@SESSIONS.add("psycopg_pipeline", "startup INSERT SELECT Sync Terminate")
def _(port: int) -> None:
    with _psycopg(port, autocommit=True) as connection, connection.pipeline() as pipeline:
        connection.execute("INSERT INTO items VALUES (%s, 'one')", [500], prepare=False)
        # Nothing ends the first exchange but the Flush of this fetch.
        connection.execute("SELECT 1", prepare=False).fetchall()
        connection.execute("SELECT 2", prepare=False)
        pipeline.sync()


@SESSIONS.add("psycopg_others", "startup DECLARE FETCH FETCH CLOSE SET LISTEN NOTIFY DO Terminate")
def _(port: int) -> None:
    with _psycopg(port, autocommit=True) as connection:
        connection.execute("DECLARE c CURSOR WITH HOLD FOR SELECT * FROM items")
        connection.execute("FETCH 1 FROM c")
        connection.execute("FETCH 2 FROM c")
        connection.execute("CLOSE c")
        connection.execute("SET application_name = 'somebody'")
        connection.execute("LISTEN news")
        connection.execute("NOTIFY news, 'payload'")
        connection.execute("DO $$ BEGIN RAISE NOTICE 'noticed'; END $$")


@SESSIONS.add("psycopg_large", "startup SELECT SELECT Terminate")
def _(port: int) -> None:
    with _psycopg(port, autocommit=True) as connection:
        connection.execute("SELECT repeat('x', 100000)").fetchall()
        connection.execute("SELECT length(%s)", ["y" * 100_000]).fetchall()


@SESSIONS.add("psycopg_cancel", "startup SELECT Terminate / CancelRequest")
def _(port: int) -> None:
    with _psycopg(port, autocommit=True) as connection:
        from threading import Timer

        timer = Timer(0.5, connection.cancel_safe)
        timer.start()
        try:
            connection.execute("SELECT pg_sleep(20)")
        except psycopg.errors.QueryCanceled:
            pass
        timer.join()


@SESSIONS.add("psycopg_trace", "startup SELECT Terminate")
def _(port: int) -> None:
    with _psycopg(port, autocommit=True) as connection:
        connection.execute(
            "SELECT name FROM items WHERE id = %s "
            f"/*application='shop',traceparent='00-{TRACE}-00f067aa0ba902b7-01'*/",
            [1],
        )


@SESSIONS.add(
    "asyncpg_statements",
    "startup SELECT SELECT SELECT SELECT BEGIN INSERT COMMIT SELECT Sync Terminate",
)
def _(port: int) -> None:
    async def talk() -> None:
        connection = await asyncpg.connect(
            host="127.0.0.1", port=port, user="seism", database="postgres", ssl=False
        )
        # Parse, Describe and Flush; then Bind, Execute and Sync; then from the cache.
        await connection.fetch("SELECT name FROM items WHERE id = $1", 1)
        await connection.fetch("SELECT name FROM items WHERE id = $1", 2)
        await connection.execute("SELECT 1")
        async with connection.transaction():
            await connection.execute("INSERT INTO items VALUES (600, 'six hundred')")
        try:
            await connection.fetch("SELECT nothing FROM items")
        except asyncpg.UndefinedColumnError:
            pass
        await connection.close()

    asyncio.run(talk())


@SESSIONS.add(
    "asyncpg_copy_and_cursor",
    "startup SELECT COPY CopyData COPY BEGIN SELECT SELECT SELECT Close COMMIT Terminate",
)
def _(port: int) -> None:
    async def talk() -> None:
        connection = await asyncpg.connect(
            host="127.0.0.1", port=port, user="seism", database="postgres", ssl=False
        )
        await connection.copy_records_to_table("items", records=[(700, "a"), (701, "b")])
        import io

        await connection.copy_from_query("SELECT * FROM items", output=io.BytesIO())
        async with connection.transaction():
            async for _ in connection.cursor("SELECT * FROM items WHERE id < 5", prefetch=3):
                pass
        await connection.close()

    asyncio.run(talk())


@SESSIONS.add(
    "pg8000_statements",
    "SSLRequest startup password password START "
    "SELECT Describe SELECT INSERT Describe INSERT COMMIT Terminate",
)
def _(port: int) -> None:
    connection = pg8000.native.Connection(
        "scram", host="127.0.0.1", port=port, database="postgres", password="secret"
    )
    connection.run("START TRANSACTION")
    connection.run("SELECT name FROM items WHERE id = :id", id=1)
    connection.run("INSERT INTO items VALUES (:id, 'pg8000')", id=800)
    connection.run("COMMIT")
    connection.close()


@SESSIONS.add("psycopg_replication", "startup SELECT SQL", "COPY BOTH")
def _(port: int) -> None:
    """COPY BOTH: from there on the codec understands no more."""
    connection = _psycopg(port, replication="database", autocommit=True)
    row = connection.execute("SELECT pg_current_wal_lsn()").fetchone()
    assert row is not None
    try:
        connection.execute(f"START_REPLICATION PHYSICAL {row[0]}")
    except psycopg.Error:
        pass
    connection.close()


@SESSIONS.add("raw_encryption_requests", "GSSENCRequest SSLRequest startup")
def _(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        for code in (80877104, 80877103):
            sock.sendall(struct.pack("!ii", 8, code))
            assert sock.recv(1) == b"N"
        packet = struct.pack("!i", 196608) + b"user\0nobody\0\0"
        sock.sendall(struct.pack("!i", len(packet) + 4) + packet)
        while sock.recv(4096):
            pass
