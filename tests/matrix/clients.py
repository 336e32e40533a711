"""One function per client: given a backend's address, what sends a key to it.

Each keeps its connections, and reuses them for other requests, unless ``MATRIX_FRESH`` is in the
environment: then each request makes its own, and closes it. A key is ``<worker-number>``,
and the backend must see these very bytes.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import queue
import re
import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

Call = Callable[[str], Any]
TIMEOUT = 10
POOL = 40
CA = os.environ.get("MATRIX_CA", "")
FRESH = bool(os.environ.get("MATRIX_FRESH"))
HEADERS = {"Connection": "close"} if FRESH else {}
"""Of the clients of HTTP."""
CLOSE = ("disconnect_all", "unbind", "close")
"""How connections are closed, in one library or another."""


REFUSED = re.compile(
    r"refused|can't con|could(n't| not) connect|failed to connect|failed: server closed|"
    r"connect call failed|CONNECTION FAILURE|SERVER HAS FAILED|connecting to",
    re.IGNORECASE,
)
"""What the libraries say of a connect that failed."""


def failed_to_connect(error: BaseException | None) -> bool:
    """Whether that is what ``error`` says, or what it came from."""
    while error is not None:
        if isinstance(error, ConnectionRefusedError) or REFUSED.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


class Pool:
    """Connections of a driver that has no pool of its own; a broken one is not kept."""

    def __init__(self, connect: Callable[[], Any]) -> None:
        self._connect = connect
        self._idle: queue.LifoQueue[Any] = queue.LifoQueue()

    @contextmanager
    def use(self) -> Iterator[Any]:
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            connection = self._connect()
        try:
            yield connection
        except BaseException:
            _closed(connection)
            raise
        if FRESH:
            _closed(connection)
        else:
            self._idle.put(connection)


def _closed(connection: Any) -> Any:
    """What closing it returns, which is awaitable for some; it may be broken already."""
    with suppress(Exception):
        return next(getattr(connection, name) for name in CLOSE if hasattr(connection, name))()


def _sql(connect: Callable[[], Any]) -> Call:
    pool = Pool(connect)

    def call(key: str) -> None:
        with pool.use() as connection:
            cursor = connection.cursor()
            cursor.execute(f"select '{key}'")
            assert key in str(cursor.fetchall()), key
            cursor.close()

    return call


# PostgreSQL.


def psycopg2(host: str, port: int) -> Call:
    import psycopg2 as module

    def connect() -> Any:
        dsn = f"host={host} port={port} user=seism dbname=postgres sslmode=disable"
        connection = module.connect(dsn, connect_timeout=TIMEOUT)
        connection.autocommit = True
        return connection

    return _sql(connect)


def psycopg(host: str, port: int) -> Call:
    import psycopg as module

    def connect() -> Any:
        dsn = (
            f"host={host} port={port} user=seism dbname=postgres sslmode=disable gssencmode=disable"
        )
        return module.connect(dsn, connect_timeout=TIMEOUT, autocommit=True)

    return _sql(connect)


def pg8000(host: str, port: int) -> Call:
    import pg8000.dbapi as module

    def connect() -> Any:
        connection = module.connect(
            user="seism", database="postgres", host=host, port=port, timeout=TIMEOUT
        )
        connection.autocommit = True
        return connection

    return _sql(connect)


def _alchemy(url: str) -> Call:
    import sqlalchemy

    if FRESH:
        engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    else:
        engine = sqlalchemy.create_engine(url, pool_size=POOL, pool_reset_on_return=None)

    def call(key: str) -> None:
        with engine.connect() as connection:
            found = connection.exec_driver_sql(f"select '{key}'").scalar()
        assert found == key

    return call


def sqlalchemy_psycopg2(host: str, port: int) -> Call:
    return _alchemy(f"postgresql+psycopg2://seism@{host}:{port}/postgres?sslmode=disable")


def sqlalchemy_psycopg(host: str, port: int) -> Call:
    return _alchemy(f"postgresql+psycopg://seism@{host}:{port}/postgres?sslmode=disable")


def sqlalchemy_mysqlclient(host: str, port: int) -> Call:
    return _alchemy(f"mysql+mysqldb://seism@{host}:{port}/test")


def django(host: str, port: int) -> Call:
    import django as module
    from django.conf import settings

    database = {
        "ENGINE": "django.db.backends.postgresql", "NAME": "postgres", "USER": "seism",
        "HOST": host, "PORT": port, "CONN_MAX_AGE": None, "OPTIONS": {"sslmode": "disable"},
    }  # fmt: skip
    settings.configure(DATABASES={"default": database})
    module.setup()
    from django.db import connection, reset_queries

    def call(key: str) -> None:
        reset_queries()
        if FRESH:
            connection.close()
        connection.close_if_unusable_or_obsolete()
        with connection.cursor() as cursor:
            cursor.execute(f"select '{key}'")
            assert cursor.fetchone() == (key,)

    return call


# MariaDB.


def mysqlclient(host: str, port: int) -> Call:
    import MySQLdb

    return _sql(
        lambda: MySQLdb.connect(
            host=host, port=port, user="seism", database="test", connect_timeout=TIMEOUT,
            read_timeout=TIMEOUT, autocommit=True,
        )
    )  # fmt: skip


def pymysql(host: str, port: int) -> Call:
    import pymysql as module

    return _sql(
        lambda: module.connect(
            host=host, port=port, user="seism", database="test", autocommit=True,
            connect_timeout=TIMEOUT, read_timeout=TIMEOUT,
        )
    )  # fmt: skip


def _connector(host: str, port: int, pure: bool) -> Call:
    import mysql.connector

    return _sql(
        lambda: mysql.connector.connect(
            host=host, port=port, user="seism", database="test", use_pure=pure, autocommit=True,
            connection_timeout=TIMEOUT, ssl_disabled=True,
        )
    )  # fmt: skip


def mysql_connector(host: str, port: int) -> Call:
    return _connector(host, port, pure=False)


def mysql_connector_pure(host: str, port: int) -> Call:
    return _connector(host, port, pure=True)


# Valkey.


def redis(host: str, port: int) -> Call:
    import redis as module

    client = module.Redis(
        host=host, port=port, socket_timeout=TIMEOUT, max_connections=POOL, retry=None
    )

    def call(key: str) -> None:
        client.set(key, key)
        if FRESH:
            client.connection_pool.disconnect(inuse_connections=False)

    return call


# memcached.


def pymemcache(host: str, port: int) -> Call:
    from pymemcache.client.base import Client, PooledClient

    if FRESH:
        pool = Pool(lambda: Client((host, port), timeout=TIMEOUT))

        def fresh(key: str) -> None:
            with pool.use() as client:
                client.set(key, key, noreply=False)

        return fresh
    client = PooledClient((host, port), max_pool_size=POOL, timeout=TIMEOUT)
    return lambda key: client.set(key, key, noreply=False)


def pylibmc(host: str, port: int) -> Call:
    import pylibmc as module

    pool = Pool(lambda: module.Client([f"{host}:{port}"], behaviors={"tcp_nodelay": True}))

    def call(key: str) -> None:
        with pool.use() as client:
            assert client.set(key, key)

    return call


# OpenLDAP.


def python_ldap(host: str, port: int) -> Call:
    import ldap

    def connect() -> Any:
        connection = ldap.initialize(f"ldap://{host}:{port}")
        connection.set_option(ldap.OPT_NETWORK_TIMEOUT, TIMEOUT)
        connection.simple_bind_s("", "")
        return connection

    pool = Pool(connect)

    def call(key: str) -> None:
        with pool.use() as connection:
            connection.search_s("", ldap.SCOPE_BASE, f"(!(cn={key}))", ["objectClass"])

    return call


def bonsai(host: str, port: int) -> Call:
    import bonsai as module

    pool = Pool(lambda: module.LDAPClient(f"ldap://{host}:{port}").connect(timeout=TIMEOUT))

    def call(key: str) -> None:
        with pool.use() as connection:
            connection.search("", 0, f"(!(cn={key}))", ["objectClass"])

    return call


def _ldap3(host: str, port: int, strategy: str) -> Any:
    import ldap3 as module

    server = module.Server(host, port, get_info=module.NONE, connect_timeout=TIMEOUT)
    return module.Connection(
        server, client_strategy=strategy, auto_bind=True, receive_timeout=TIMEOUT,
        pool_name="matrix", pool_size=8,
    )  # fmt: skip


def ldap3(host: str, port: int) -> Call:
    pool = Pool(lambda: _ldap3(host, port, "SYNC"))

    def call(key: str) -> None:
        with pool.use() as connection:
            connection.search("", f"(!(cn={key}))", "BASE")

    return call


def ldap3_reusable(host: str, port: int) -> Call:
    connection = _ldap3(host, port, "REUSABLE")

    def call(key: str) -> None:
        number = connection.search("", f"(!(cn={key}))", "BASE")
        connection.get_response(number, timeout=TIMEOUT)

    return call


# HTTP.


def http_client(host: str, port: int) -> Call:
    import http.client

    pool = Pool(lambda: http.client.HTTPConnection(host, port, timeout=TIMEOUT))

    def call(key: str) -> None:
        with pool.use() as connection:
            connection.request("POST", "/", key)
            with connection.getresponse() as response:
                assert response.read().decode() == key

    return call


def _requests(url: str) -> Call:
    import requests as module

    session = module.Session()
    adapter = module.adapters.HTTPAdapter(pool_maxsize=POOL)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    session.trust_env = False

    def call(key: str) -> None:
        response = session.post(url, data=key, timeout=TIMEOUT, verify=CA or True, headers=HEADERS)
        assert response.text == key

    return call


def requests(host: str, port: int) -> Call:
    return _requests(f"http://{host}:{port}/")


def requests_tls(host: str, port: int) -> Call:
    return _requests(f"https://{host}:{port}/")


def urllib3(host: str, port: int) -> Call:
    import urllib3 as module

    pool = module.HTTPConnectionPool(host, port, maxsize=POOL, retries=False, timeout=TIMEOUT)

    def call(key: str) -> None:
        answer = pool.request("POST", "/", body=key, headers=HEADERS)
        assert answer.data.decode() == key

    return call


def httpx(host: str, port: int) -> Call:
    import httpx as module

    client = module.Client(timeout=TIMEOUT, trust_env=False, headers=HEADERS)

    def call(key: str) -> None:
        assert client.post(f"http://{host}:{port}/", content=key).text == key

    return call


def pycurl(host: str, port: int) -> Call:
    import io

    import pycurl as module

    pool = Pool(lambda: module.Curl())  # Seism exchanges the class in the first request

    def call(key: str) -> None:
        body = io.BytesIO()
        with pool.use() as curl:
            curl.setopt(module.URL, f"http://{host}:{port}/")
            curl.setopt(module.POSTFIELDS, key)
            curl.setopt(module.WRITEDATA, body)
            curl.setopt(module.TIMEOUT, TIMEOUT)
            curl.setopt(module.NOSIGNAL, 1)
            curl.perform()
        assert body.getvalue().decode() == key

    return call


# SMTP.


def smtplib(host: str, port: int) -> Call:
    import smtplib as module

    pool = Pool(lambda: module.SMTP(host, port, "localhost", timeout=TIMEOUT))

    def call(key: str) -> None:
        with pool.use() as smtp:
            smtp.sendmail("a@example.org", ["b@example.org"], f"Subject: {key}\r\n\r\n{key}\r\n")

    return call


SYNC: dict[str, Callable[[str, int], Call]] = {
    "psycopg2": psycopg2,
    "psycopg": psycopg,
    "psycopg-pure": psycopg,
    "pg8000": pg8000,
    "sqlalchemy-psycopg2": sqlalchemy_psycopg2,
    "sqlalchemy-psycopg": sqlalchemy_psycopg,
    "sqlalchemy-mysqlclient": sqlalchemy_mysqlclient,
    "django": django,
    "mysqlclient": mysqlclient,
    "pymysql": pymysql,
    "mysql-connector": mysql_connector,
    "mysql-connector-pure": mysql_connector_pure,
    "redis": redis,
    "pymemcache": pymemcache,
    "pylibmc": pylibmc,
    "python-ldap": python_ldap,
    "bonsai": bonsai,
    "ldap3": ldap3,
    "ldap3-reusable": ldap3_reusable,
    "http.client": http_client,
    "requests": requests,
    "requests-tls": requests_tls,
    "urllib3": urllib3,
    "httpx": httpx,
    "pycurl": pycurl,
    "smtplib": smtplib,
}


# asyncio.

AsyncCall = Callable[[str], Awaitable[None]]


class AsyncPool:
    """As ``Pool``; connections are made one at a time, as all would be at once otherwise."""

    def __init__(self, connect: Callable[[], Awaitable[Any]]) -> None:
        self._connect = connect
        self._idle: list[Any] = []

    async def use(self, work: Callable[[Any], Awaitable[None]]) -> None:
        connection = self._idle.pop() if self._idle else await self._connect()
        try:
            await work(connection)
        except BaseException:
            await self._close(connection)
            raise
        if FRESH:
            await self._close(connection)
        else:
            self._idle.append(connection)

    async def _close(self, connection: Any) -> None:
        closing = _closed(connection)
        if inspect.isawaitable(closing):
            await closing


def psycopg_async(host: str, port: int) -> AsyncCall:
    import psycopg as module

    dsn = f"host={host} port={port} user=seism dbname=postgres sslmode=disable"
    dsn += " gssencmode=disable"

    async def connect() -> Any:
        return await module.AsyncConnection.connect(dsn, connect_timeout=TIMEOUT, autocommit=True)

    pool = AsyncPool(connect)

    async def call(key: str) -> None:
        async def work(connection: Any) -> None:
            cursor = await connection.execute(f"select '{key}'")
            assert await cursor.fetchone() == (key,)

        await pool.use(work)

    return call


def asyncpg(host: str, port: int) -> AsyncCall:
    import asyncpg as module

    pool = AsyncPool(
        lambda: module.connect(
            f"postgresql://seism@{host}:{port}/postgres", timeout=TIMEOUT, command_timeout=TIMEOUT,
            ssl=False,
        )
    )  # fmt: skip

    async def call(key: str) -> None:
        async def work(connection: Any) -> None:
            assert await connection.fetchval(f"select '{key}'") == key

        await pool.use(work)

    return call


def aiomysql(host: str, port: int) -> AsyncCall:
    import aiomysql as module

    pool = AsyncPool(
        lambda: module.connect(
            host=host, port=port, user="seism", db="test", autocommit=True,
            connect_timeout=TIMEOUT,
        )
    )  # fmt: skip

    async def call(key: str) -> None:
        async def work(connection: Any) -> None:
            async with connection.cursor() as cursor:
                await cursor.execute(f"select '{key}'")
                assert await cursor.fetchone() == (key,)

        await pool.use(work)

    return call


def redis_async(host: str, port: int) -> AsyncCall:
    import redis.asyncio

    client = redis.asyncio.Redis(host=host, port=port, socket_timeout=TIMEOUT, retry=None)

    async def call(key: str) -> None:
        await client.set(key, key)
        if FRESH:
            await client.connection_pool.disconnect(inuse_connections=False)

    return call


def aiohttp(host: str, port: int) -> AsyncCall:
    import aiohttp as module

    sessions: list[Any] = []

    async def call(key: str) -> None:
        if not sessions:
            sessions.append(module.ClientSession())
        timeout = module.ClientTimeout(total=TIMEOUT)
        url = f"http://{host}:{port}/"
        async with sessions[0].post(url, data=key, timeout=timeout, headers=HEADERS) as response:
            assert await response.text() == key

    return call


def _httpx_async(url: str) -> AsyncCall:
    import httpx as module

    verify = ssl.create_default_context(cafile=CA) if CA else True
    client = module.AsyncClient(timeout=TIMEOUT, trust_env=False, verify=verify, headers=HEADERS)

    async def call(key: str) -> None:
        assert (await client.post(url, content=key)).text == key

    return call


def httpx_async(host: str, port: int) -> AsyncCall:
    return _httpx_async(f"http://{host}:{port}/")


def httpx_async_tls(host: str, port: int) -> AsyncCall:
    return _httpx_async(f"https://{host}:{port}/")


def aiosmtplib(host: str, port: int) -> AsyncCall:
    import aiosmtplib as module

    async def connect() -> Any:
        client = module.SMTP(
            hostname=host, port=port, timeout=TIMEOUT, start_tls=False, local_hostname="localhost"
        )
        await client.connect()
        return client

    pool = AsyncPool(connect)

    async def call(key: str) -> None:
        async def work(client: Any) -> None:
            text = f"Subject: {key}\r\n\r\n{key}\r\n"
            await client.sendmail("a@example.org", ["b@example.org"], text)

        await pool.use(work)

    return call


ASYNC: dict[str, Callable[[str, int], AsyncCall]] = {
    "psycopg-async": psycopg_async,
    "asyncpg": asyncpg,
    "aiomysql": aiomysql,
    "redis-async": redis_async,
    "aiohttp": aiohttp,
    "httpx-async": httpx_async,
    "httpx-async-tls": httpx_async_tls,
    "aiosmtplib": aiosmtplib,
}

BACKEND = {
    "psycopg2": "postgresql", "psycopg": "postgresql", "psycopg-pure": "postgresql",
    "pg8000": "postgresql", "sqlalchemy-psycopg2": "postgresql",
    "sqlalchemy-psycopg": "postgresql", "django": "postgresql", "psycopg-async": "postgresql",
    "asyncpg": "postgresql", "sqlalchemy-mysqlclient": "mariadb", "mysqlclient": "mariadb",
    "pymysql": "mariadb", "mysql-connector": "mariadb", "mysql-connector-pure": "mariadb",
    "aiomysql": "mariadb", "redis": "valkey", "redis-async": "valkey",
    "pymemcache": "memcached", "pylibmc": "memcached", "python-ldap": "openldap",
    "bonsai": "openldap", "ldap3": "openldap", "ldap3-reusable": "openldap",
    "smtplib": "smtp", "aiosmtplib": "smtp",
    "http.client": "http", "requests": "http", "urllib3": "http", "httpx": "http", "pycurl": "http",
    "aiohttp": "http", "httpx-async": "http", "requests-tls": "https",
    "httpx-async-tls": "https",
}  # fmt: skip
"""Client -> the backend that it talks to."""


def in_thread(call: Call) -> AsyncCall:
    """A blocking client under asyncio."""

    async def threaded(key: str) -> None:
        await asyncio.to_thread(call, key)

    return threaded
