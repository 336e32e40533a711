"""Database clients as one: what each of them raises is told by class and code, what it leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import asyncpg
import pg8000.exceptions
import pg8000.native
import psycopg
import pymysql

from tests import native
from tests.processes import until
from tests.protocols.outcome import seen

PATIENCE = 20
MARK = 1000
"""Id of the row by which it is seen whether a transaction has been committed."""
INSERT = f"INSERT INTO items VALUES ({MARK}, 'mark')"


class Client:
    """One connection."""

    name: ClassVar[str]
    errors: ClassVar[tuple[type[BaseException], ...]]
    """What it raises for its server and its connection."""

    def __init__(self, port: int, **options: Any) -> None:
        raise NotImplementedError

    def run(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of one statement; values go by the protocol's extended way, where there is one."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    @classmethod
    def code(cls, error: Any) -> str:
        raise NotImplementedError

    @classmethod
    def raised(cls, error: BaseException) -> str:
        """Its class, with the module's top name, and the code."""
        return f"{seen(error)} {cls.code(error)}".strip()

    def fails(self, sql: str, *values: Any) -> str:
        """What the statement raises, empty if nothing."""
        try:
            self.run(sql, *values)
        except self.errors as error:
            return self.raised(error)
        return ""

    @classmethod
    def refused(cls, port: int, **options: Any) -> str:
        """What a connection that is not to be had raises."""
        try:
            client = cls(port, **options)
        except cls.errors as error:
            return cls.raised(error)
        client.close()
        return ""


class Psycopg(Client):
    name = "psycopg"
    errors = (psycopg.Error,)

    def __init__(self, port: int, **options: Any) -> None:
        self._connection = psycopg.connect(
            host="127.0.0.1", port=port, user="seism", dbname="postgres", autocommit=True,
            connect_timeout=PATIENCE, sslmode="disable", gssencmode="disable", **options,
        )  # fmt: skip

    def run(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        for number in range(len(values)):
            sql = sql.replace(f"${number + 1}", "%s")
        cursor = self._connection.execute(sql, values or None)
        return cursor.fetchall() if cursor.description else []

    def close(self) -> None:
        self._connection.close()

    @classmethod
    def code(cls, error: Any) -> str:
        return error.sqlstate or ""


class Asyncpg(Client):
    name = "asyncpg"
    errors = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError)

    def __init__(self, port: int, **options: Any) -> None:
        self._loop = asyncio.new_event_loop()
        try:
            self._connection = self._loop.run_until_complete(
                asyncpg.connect(
                    host="127.0.0.1",
                    port=port,
                    user="seism",
                    database="postgres",
                    ssl=False,
                    timeout=PATIENCE,
                    **options,
                )
            )
        except BaseException:
            self._loop.close()
            raise

    def run(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        if values:
            rows = self._loop.run_until_complete(
                self._connection.fetch(sql, *values, timeout=PATIENCE)
            )
            return [tuple(row) for row in rows]
        if sql.startswith("SELECT"):
            rows = self._loop.run_until_complete(self._connection.fetch(sql, timeout=PATIENCE))
            return [tuple(row) for row in rows]
        self._loop.run_until_complete(self._connection.execute(sql, timeout=PATIENCE))
        return []

    def close(self) -> None:
        self._connection.terminate()
        # Its transport closes in the loop's next round.
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    @classmethod
    def code(cls, error: Any) -> str:
        return getattr(error, "sqlstate", None) or ""


class Pg8000(Client):
    name = "pg8000"
    errors = (pg8000.exceptions.Error, OSError)

    def __init__(self, port: int, **options: Any) -> None:
        self._connection = pg8000.native.Connection(
            "seism", host="127.0.0.1", port=port, database="postgres", timeout=PATIENCE, **options
        )

    def run(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        named = {}
        for number, value in enumerate(values, 1):
            sql = sql.replace(f"${number}", f":v{number}")
            named[f"v{number}"] = value
        return [tuple(row) for row in self._connection.run(sql, **named) or []]

    def close(self) -> None:
        try:
            self._connection.close()
        except self.errors:
            pass

    @classmethod
    def code(cls, error: Any) -> str:
        told = error.args[0] if error.args else ""
        return told.get("C", "") if isinstance(told, dict) else ""


class PyMySQL(Client):
    name = "PyMySQL"
    errors = (pymysql.err.Error, OSError)

    def __init__(self, port: int, **options: Any) -> None:
        self._connection = pymysql.connect(
            host="127.0.0.1", port=port, database="test", autocommit=True,
            connect_timeout=PATIENCE, read_timeout=PATIENCE, **{"user": "root", **options},
        )  # fmt: skip

    def run(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(sql, values or None)
            return list(cursor.fetchall())

    def close(self) -> None:
        try:
            self._connection.close()
        except self.errors:
            pass

    @classmethod
    def code(cls, error: Any) -> str:
        return str(error.args[0]) if error.args else ""


class MySQLClient(Client):
    name = "mysqlclient"
    errors: ClassVar[tuple[type[BaseException], ...]] = (Exception,)

    def __init__(self, port: int, **options: Any) -> None:
        self._connection = native.module("MySQLdb").connect(
            host="127.0.0.1", port=port, database="test", autocommit=True, ssl_mode="DISABLED",
            connect_timeout=PATIENCE, read_timeout=PATIENCE, **{"user": "root", **options},
        )  # fmt: skip

    def run(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        cursor = self._connection.cursor()
        try:
            cursor.execute(sql, values or None)
            return list(cursor.fetchall())
        finally:
            cursor.close()

    def close(self) -> None:
        try:
            self._connection.close()
        except self.errors:
            pass

    @classmethod
    def code(cls, error: Any) -> str:
        return str(error.args[0]) if error.args else ""


POSTGRESQL: tuple[type[Client], ...] = (Psycopg, Asyncpg, Pg8000)
MYSQL: tuple[type[Client], ...] = (PyMySQL, MySQLClient)


@contextmanager
def connected(client: type[Client], port: int, **options: Any) -> Iterator[Any]:
    """A connection of ``client``, closed when the block ends."""
    made = client(port, **options)
    try:
        yield made
    finally:
        made.close()


def marked(client: type[Client], port: int) -> int:
    """Whether the mark has been committed; takes it away."""
    with connected(client, port) as one:
        ((count,),) = one.run(f"SELECT count(*) FROM items WHERE id = {MARK}")
        one.run(f"DELETE FROM items WHERE id = {MARK}")
    return int(count)


def committed(client: type[Client], port: int) -> None:
    """Wait until the mark is there, by a server that may still be at it."""
    until(lambda: marked(client, port))
