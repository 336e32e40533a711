"""Database clients as one: what each of them raises is told by class and code."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import asyncpg
import pg8000.exceptions
import pg8000.native
import psycopg
import pymysql

from tests import native

Raised = tuple[str, str]
"""The class of an exception, with its module's top name, and the server's code or ""."""

PATIENCE = 20


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

    def code(self, error: Any) -> str:
        raise NotImplementedError

    def raised(self, error: BaseException) -> Raised:
        cls = type(error)
        return f"{cls.__module__.partition('.')[0]}.{cls.__name__}", self.code(error)

    def fails(self, sql: str, *values: Any) -> Raised:
        """What the statement raises."""
        try:
            self.run(sql, *values)
        except self.errors as error:
            return self.raised(error)
        return "", ""

    @classmethod
    def refused(cls, port: int, **options: Any) -> Raised:
        """What a connection that is not to be had raises."""
        try:
            client = cls(port, **options)
        except cls.errors as error:
            return cls.raised(cls.__new__(cls), error)
        client.close()
        return "", ""


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

    def code(self, error: Any) -> str:
        return error.sqlstate or ""


class Asyncpg(Client):
    name = "asyncpg"
    errors = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError)

    def __init__(self, port: int, **options: Any) -> None:
        self._loop = asyncio.new_event_loop()
        try:
            self._connection = self._loop.run_until_complete(
                asyncpg.connect(
                    host="127.0.0.1", port=port, user="seism", database="postgres", ssl=False,
                    timeout=PATIENCE, **options,
                )  # fmt: skip
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

    def code(self, error: Any) -> str:
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

    def code(self, error: Any) -> str:
        told = error.args[0] if error.args else ""
        return told.get("C", "") if isinstance(told, dict) else ""


class PyMySQL(Client):
    name = "PyMySQL"
    errors = (pymysql.err.Error, OSError)

    def __init__(self, port: int, **options: Any) -> None:
        self._connection = pymysql.connect(
            host="127.0.0.1", port=port, user="root", database="test", autocommit=True,
            connect_timeout=PATIENCE, read_timeout=PATIENCE, **options,
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

    def code(self, error: Any) -> str:
        return str(error.args[0]) if error.args else ""


class MySQLClient(Client):
    name = "mysqlclient"
    errors: ClassVar[tuple[type[BaseException], ...]] = (Exception,)

    def __init__(self, port: int, **options: Any) -> None:
        self._connection = native.module("MySQLdb").connect(
            host="127.0.0.1", port=port, user="root", database="test", autocommit=True,
            connect_timeout=PATIENCE, read_timeout=PATIENCE, ssl_mode="DISABLED", **options,
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

    def code(self, error: Any) -> str:
        return str(error.args[0]) if error.args else ""


POSTGRESQL: tuple[type[Client], ...] = (Psycopg, Asyncpg, Pg8000)
MYSQL: tuple[type[Client], ...] = (PyMySQL, MySQLClient)
