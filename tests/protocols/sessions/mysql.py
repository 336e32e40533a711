"""What real MySQL clients did while they were recorded, and which exchanges that is.

The greeting is not among them, as no request belongs to it."""

from __future__ import annotations

import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pymysql

from tests import native
from tests.databases import MariaDB
from tests.protocols.record import Sessions

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"

SESSIONS = Sessions()


@contextmanager
def server() -> Iterator[int]:
    """The port of a server of its own."""
    with MariaDB() as running:
        yield running.port


def _pymysql(port: int, user: str = "root", **options: Any) -> pymysql.Connection[Any]:
    return pymysql.connect(host="127.0.0.1", port=port, user=user, database="test", **options)


def _mysqlclient(port: int, **options: Any) -> Any:
    return native.module("MySQLdb").connect(
        host="127.0.0.1", port=port, user="root", database="test", ssl_mode="DISABLED", **options
    )


@SESSIONS.add(
    "pymysql_statements",
    """
    login SET SET SELECT SELECT INSERT COMMIT SELECT ROLLBACK COM_PING COM_INIT_DB
    COM_STATISTICS COM_QUIT
""",
)
def _(port: int) -> None:
    connection = _pymysql(port)
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        cursor.execute("SELECT id, name FROM items WHERE name = %s", ["item 2"])
        cursor.execute("INSERT INTO items VALUES (%s, %s)", [100, "hundred"])
        connection.commit()
        try:
            cursor.execute("SELECT nothing FROM items")
        except pymysql.err.OperationalError:
            connection.rollback()
    connection.ping()
    connection.select_db("test")
    connection._execute_command(0x09, "")  # type: ignore[attr-defined]
    connection._read_packet()  # type: ignore[attr-defined]
    connection.close()


@SESSIONS.add("pymysql_native", "login SET SET SELECT COM_QUIT")
def _(port: int) -> None:
    connection = _pymysql(port, "native", password="secret")
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    connection.close()


@SESSIONS.add("pymysql_wrong_password", "login")
def _(port: int) -> None:
    try:
        _pymysql(port, "native", password="wrong")
    except pymysql.err.OperationalError:
        pass


@SESSIONS.add("pymysql_several_results", "login SET SET SELECT CALL SELECT COM_QUIT")
def _(port: int) -> None:
    from pymysql.constants import CLIENT

    connection = _pymysql(port, client_flag=CLIENT.MULTI_STATEMENTS)
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1; SELECT id FROM items; DO 1; SELECT 2")
        while cursor.nextset():
            pass
        cursor.callproc("two")
        while cursor.nextset():
            pass
        cursor.execute("SELECT 3")
    connection.close()


@SESSIONS.add("pymysql_local_infile", "login SET SET LOAD LOCAL-INFILE COMMIT SELECT COM_QUIT")
def _(port: int) -> None:
    connection = _pymysql(port, local_infile=True)
    with tempfile.NamedTemporaryFile("w") as rows, connection.cursor() as cursor:
        for number in range(200, 400):
            rows.write(f"{number}\t{'copied ' * 10}\n")
        rows.flush()
        cursor.execute(f"LOAD DATA LOCAL INFILE '{rows.name}' INTO TABLE items")
        connection.commit()
        cursor.execute("SELECT count(*) FROM items")
    connection.close()


@SESSIONS.add("pymysql_large", "login SET SET SELECT SELECT COM_QUIT")
def _(port: int) -> None:
    connection = _pymysql(port)
    with connection.cursor() as cursor:
        cursor.execute("SELECT repeat('x', 100000)")
        cursor.execute("SELECT length(%s)", ["y" * 100_000])
    connection.close()


@SESSIONS.add(
    "raw_prepared",
    """
    login SET SET SELECT SELECT SELECT COM_STMT_FETCH COM_STMT_FETCH COM_STMT_RESET
    INSERT COM_STMT_SEND_LONG_DATA INSERT COM_STMT_CLOSE COM_STMT_CLOSE SELECT
    COM_RESET_CONNECTION COM_QUIT
""",
)
def _(port: int) -> None:
    """No Python driver speaks all of it: packets by hand, over PyMySQL's connection."""
    connection: Any = _pymysql(port)
    query = prepare(connection, "SELECT id, name FROM items WHERE id < ? ORDER BY id")
    number = struct.pack("<BBBBi", 0, 1, 3, 0, 100)
    connection._execute_command(0x17, struct.pack("<iBi", query, 0, 1) + number)
    rows(connection)
    # With a cursor: the reply has no rows, they are fetched.
    connection._execute_command(0x17, struct.pack("<iBi", query, 1, 1) + number)
    rows(connection, cursor=True)
    for _ in range(2):
        connection._execute_command(0x1C, struct.pack("<ii", query, 2))
        while not connection._read_packet().is_eof_packet():
            pass
    connection._execute_command(0x1A, struct.pack("<i", query))
    connection._read_packet()
    insert = prepare(connection, "INSERT INTO items VALUES (500, ?)")
    connection._execute_command(0x18, struct.pack("<ih", insert, 0) + b"long data")
    connection._execute_command(0x17, struct.pack("<iBi", insert, 0, 1) + b"\0\1\xfd\0")
    connection._read_packet()
    for statement in (query, insert):
        connection._execute_command(0x19, struct.pack("<i", statement))
    # No table, no parameter.
    prepare(connection, "SELECT 1")
    connection._execute_command(0x1F, "")
    connection._read_packet()
    connection.close()


def prepare(connection: Any, statement: str) -> int:
    connection._execute_command(0x16, statement)
    packet = connection._read_packet()
    number, columns, parameters = struct.unpack("<xihh", packet.get_all_data()[:9])
    for count in (parameters, columns):
        for _ in range(count and count + 1):
            connection._read_packet()
    return int(number)


def rows(connection: Any, cursor: bool = False) -> None:
    columns = connection._read_packet().read_length_encoded_integer()
    for _ in range(columns + 1):
        connection._read_packet()
    while not cursor and not connection._read_packet().is_eof_packet():
        pass


@SESSIONS.add("raw_commands", "login SET SET COM_FIELD_LIST COM_SET_OPTION SELECT COM_QUIT")
def _(port: int) -> None:
    connection: Any = _pymysql(port)
    connection._execute_command(0x04, b"items\0")
    while not connection._read_packet().is_eof_packet():
        pass
    connection._execute_command(0x1B, b"\0\0")
    connection._read_packet()
    connection._execute_command(0x03, "SELECT 1")
    rows(connection)
    connection.close()


@SESSIONS.add(
    "mysqlclient_statements",
    """
    login SET SET SELECT SELECT INSERT ROLLBACK SELECT COM_PING COM_CHANGE_USER auth
    SELECT COM_QUIT
""",
)
def _(port: int) -> None:
    connection = _mysqlclient(port)
    cursor = connection.cursor()
    cursor.execute("SELECT 1")
    cursor.execute("SELECT id, name FROM items WHERE name = %s", ["item 2"])
    cursor.execute("INSERT INTO items VALUES (%s, %s)", [101, "hundred"])
    connection.rollback()
    cursor.execute(
        "SELECT name FROM items WHERE id = 1 "
        f"/*application='shop',traceparent='00-{TRACE}-00f067aa0ba902b7-01'*/"
    )
    connection.ping()
    connection.change_user("root", "", "test")
    cursor.execute("SELECT 2")
    connection.close()


@SESSIONS.add("mysqlclient_compressed", "login", "compression")
def _(port: int) -> None:
    """After the login the codec understands no more."""
    connection = _mysqlclient(port, compress=True)
    connection.cursor().execute("SELECT 1")
    connection.close()


@SESSIONS.add("mariadb_tool", "login auth SELECT SHOW SELECT COM_QUIT")
def _(port: int) -> None:
    """It assumes another way to log in than the account's, so the server makes it switch."""
    subprocess.run(
        ["mariadb", "--no-defaults", "--host=127.0.0.1", f"--port={port}", "--user=root",
         "--skip-ssl", "--default-auth=mysql_clear_password", "--enable-cleartext-plugin",
         "--batch", "test", "-e",
         "SELECT 1; SHOW TABLES; SELECT id FROM items WHERE id < 3"],
        check=True, capture_output=True, timeout=30,
    )  # fmt: skip
