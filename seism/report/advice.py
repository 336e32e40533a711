"""What to do about a weakness: two or three sentences for its kind and its library.

Declared once, here. A sentence of ``GENERAL`` holds for every client; those of ``LIBRARIES`` name
the library's own settings, each with the manual as its source.
"""

from __future__ import annotations

from dataclasses import dataclass

from seism.verdict.result import (
    ABANDONED,
    BAD_503,
    COLLATERAL,
    CUT,
    DEGRADED,
    DIED,
    ENDED,
    ERROR,
    FAILED_JOB,
    HANG,
    HIDDEN,
    LEAKED,
    LOST,
    LOST_WORK,
    ODD,
    SILENT,
    STALE,
    STORM,
    TWICE,
    UNRECOVERED,
    UNUSED,
    WRONG,
)
from seism.verdict.weakness import FINDING, OTHER, Weakness

TIMEOUTS, POOLS, RETRIES = "guide/timeouts.md", "guide/pools.md", "guide/retries.md"
UNAVAILABLE, SHUTDOWN = "guide/unavailable.md", "guide/shutdown.md"
HARM, EXPERIMENTS, BACKGROUND = "harm.md", "experiments.md", "background.md"
"""Pages of the documentation."""

GENERAL = {
    ERROR: "Catch the client's exception where the request is answered, and answer 503 with "
    "Retry-After and one line in the log that names the backend.",
    SILENT: "The client got nothing, not even an error. Bound the waits on the backend, so that a"
    " thread is left to answer.",
    HANG: "Give every wait on the backend an end that is well below the time after which "
    "clients give up: connecting, replies, and waiting for a connection of the pool.",
    CUT: "Fetch from the backend before the answer begins, or end the answer so that the "
    "client can tell that it is incomplete.",
    BAD_503: "Send Retry-After with the 503, and log one error that names the backend.",
    STORM: "Bound the retries by number and by time, and wait longer before each, at random.",
    UNRECOVERED: "Find what keeps the failure after the backend is back: connections of the pool "
    "that nobody checks, a breaker or back-off that stays open too long, an address that is not "
    "looked up again.",
    ODD: "A failing backend must not look like a client's mistake or like a log-out: answer "
    "503, not a redirect or a 4xx.",
    DEGRADED: 'If the answer is a fallback, declare it: `degraded = "green"` in the rules of the '
    "route. If not, an exception is swallowed on the way: answer 503 instead.",
    FAILED_JOB: "Nobody does this work any more. Have the queue run the job again, several times "
    "and later each time; it must be safe to run twice. Celery: `autoretry_for=(...)` and "
    "`retry_backoff=True`; RQ: `Retry(max=5, interval=[1, 5, 30])`.",
    HIDDEN: "The answer claims success although an exception was raised. Answer 503, or handle "
    "the exception where it is expected.",
    UNUSED: "Let a fallback or breaker ask the backend again after some seconds, with one request"
    " at a time.",
    LOST_WORK: "Answer with success only after the backend has confirmed the work, or keep the "
    "work in a queue that survives.",
    TWICE: "A lost reply does not mean that nothing was done. Repeat only what is idempotent, or"
    " send a key by which the backend recognizes the repetition.",
    COLLATERAL: "Requests that do not need the backend wait for threads or connections that others "
    "hold. Bound those waits, or give the backend's requests a pool of their own.",
    WRONG: "Close a connection on which a reply is outstanding; never return it to the pool. "
    "This is usually an exception or a cancelled request between sending and reading.",
    LEAKED: "Return or close the connection in a `finally` or `with` block, on errors and "
    "timeouts, too.",
    LOST: "The pool counts connections that no longer exist. Give it back each connection "
    "exactly once, and discard broken ones.",
    DIED: "Handle the client's errors where they occur: an unhandled one ends the process. "
    "Bound the waits, so that the server does not kill the worker.",
    ENDED: "Catch the client's errors inside the loop, wait a little, and go on. Watch the thread "
    "or task, and start it again if it ends.",
    STALE: "Check a connection before it is used, or drop the whole pool at the first broken one"
    " and repeat the request once.",
    FINDING: "",
    OTHER: "",
    ABANDONED: "Close a connection whose reply nobody reads any more, instead of returning it "
    "to the pool.",
}
"""Kind -> what to do whatever the client is."""

PAGES = {
    ERROR: UNAVAILABLE,
    SILENT: TIMEOUTS,
    HANG: TIMEOUTS,
    CUT: UNAVAILABLE,
    BAD_503: UNAVAILABLE,
    STORM: RETRIES,
    UNRECOVERED: POOLS,
    ODD: UNAVAILABLE,
    DEGRADED: EXPERIMENTS,
    HIDDEN: UNAVAILABLE,
    FAILED_JOB: BACKGROUND,
    UNUSED: RETRIES,
    LOST_WORK: EXPERIMENTS,
    TWICE: RETRIES,
    COLLATERAL: POOLS,
    WRONG: HARM,
    LEAKED: POOLS,
    LOST: POOLS,
    DIED: SHUTDOWN,
    ENDED: BACKGROUND,
    STALE: POOLS,
    FINDING: HARM,
    OTHER: EXPERIMENTS,
    ABANDONED: HARM,
}
"""Kind -> the page that explains it."""

WAITS, STALES, POOLED, RAISES = "waits", "stale", "pool", "raises"
_GROUP = {
    HANG: WAITS,
    SILENT: WAITS,
    COLLATERAL: WAITS,
    UNRECOVERED: STALES,
    STALE: STALES,
    LEAKED: POOLED,
    LOST: POOLED,
    WRONG: POOLED,
    STORM: RAISES,
    ERROR: RAISES,
    HIDDEN: RAISES,
}

LIBRARIES: dict[str, dict[str, str]] = {
    "sqlalchemy": {
        WAITS: "SQLAlchemy: `pool_timeout` bounds the wait for a connection (30 s by default); the "
        "driver's own timeouts go into `connect_args`.",
        STALES: "SQLAlchemy: `create_engine(..., pool_pre_ping=True)`, or `pool_recycle`.",
        POOLED: "SQLAlchemy: use `with engine.connect()` and `with Session()`; a session that is "
        "kept after an error needs `rollback()`.",
        RAISES: "SQLAlchemy: catch `sqlalchemy.exc.OperationalError` and `sqlalchemy.exc."
        "TimeoutError`.",
    },
    "psycopg": {
        WAITS: "psycopg: `connect_timeout`, `tcp_user_timeout` and `options='-c "
        "statement_timeout=...'` in the connection string.",
        STALES: "psycopg_pool: `ConnectionPool(check=ConnectionPool.check_connection)`.",
        POOLED: "psycopg_pool: use `with pool.connection()`.",
        RAISES: "psycopg: catch `psycopg.OperationalError`.",
    },
    "psycopg2": {
        WAITS: "psycopg2: `connect_timeout`, `tcp_user_timeout` and `options='-c "
        "statement_timeout=...'` in the connection string.",
        STALES: "psycopg2: on `OperationalError` or `InterfaceError` close the connection and "
        "open another; its pool does not check them.",
        POOLED: "psycopg2: `putconn(connection, close=True)` after an error.",
        RAISES: "psycopg2: catch `psycopg2.OperationalError` and `psycopg2.InterfaceError`.",
    },
    "asyncpg": {
        WAITS: "asyncpg: `connect(timeout=..., command_timeout=...)`, and `pool.acquire("
        "timeout=...)`.",
        STALES: "asyncpg: `create_pool(max_inactive_connection_lifetime=...)`, and repeat a "
        "request once on `ConnectionDoesNotExistError`.",
        POOLED: "asyncpg: use `async with pool.acquire()`.",
        RAISES: "asyncpg: catch `asyncpg.PostgresError`, `asyncpg.InterfaceError` and `OSError`.",
    },
    "pg8000": {
        WAITS: "pg8000: `connect(timeout=...)`.",
        RAISES: "pg8000: catch `pg8000.exceptions.InterfaceError` and `DatabaseError`.",
    },
    "pymysql": {
        WAITS: "PyMySQL: `connect_timeout`, `read_timeout` and `write_timeout`.",
        STALES: "PyMySQL: `connection.ping(reconnect=True)` before use.",
        RAISES: "PyMySQL: catch `pymysql.err.OperationalError` and `pymysql.err.InterfaceError`.",
    },
    "MySQLdb": {
        WAITS: "mysqlclient: `connect_timeout`, `read_timeout` and `write_timeout`.",
        RAISES: "mysqlclient: catch `MySQLdb.OperationalError`.",
    },
    "redis": {
        WAITS: "redis-py: `socket_connect_timeout` and `socket_timeout`; of a "
        "`BlockingConnectionPool`, `timeout`.",
        STALES: "redis-py: `health_check_interval`, and `retry=Retry(NoBackoff(), 1)` with "
        "`retry_on_error=[ConnectionError]`.",
        POOLED: "redis-py: close pipelines and pub/sub objects, best with `with`.",
        RAISES: "redis-py: catch `redis.RedisError`; `retry=Retry(ExponentialBackoff(), 1)` bounds "
        "the tries.",
    },
    "pymemcache": {
        WAITS: "pymemcache: `connect_timeout` and `timeout`; neither is set by default.",
        STALES: "pymemcache: `RetryingClient`, or `ignore_exc=True` if a miss will do.",
        RAISES: "pymemcache: catch `pymemcache.MemcacheError` and `OSError`, or set "
        "`ignore_exc=True` if a miss will do.",
    },
    "pylibmc": {
        WAITS: "pylibmc: the behaviors `connect_timeout` (ms), `send_timeout` and "
        "`receive_timeout` (µs).",
        STALES: "pylibmc: the behaviors `dead_timeout` and `retry_timeout` say when a failed "
        "server is asked again.",
        RAISES: "pylibmc: catch `pylibmc.Error`.",
    },
    "memcache": {
        WAITS: "python-memcached: `Client(socket_timeout=...)`, 3 s by default.",
        STALES: "python-memcached: `Client(dead_retry=...)`; it asks no failed server for 30 s.",
    },
    "ldap": {
        WAITS: "python-ldap: `OPT_NETWORK_TIMEOUT` bounds a connect and `OPT_TIMEOUT` a reply; "
        "neither is set by default.",
        STALES: "python-ldap: `ReconnectLDAPObject(uri, retry_max=..., retry_delay=...)`.",
        RAISES: "python-ldap: catch `ldap.LDAPError`; `ldap.SERVER_DOWN` is one.",
    },
    "bonsai": {
        WAITS: "bonsai: `connect(timeout=...)`, and `timeout` of each operation.",
        RAISES: "bonsai: catch `bonsai.LDAPError`.",
    },
    "ldap3": {
        WAITS: "ldap3: `Server(connect_timeout=...)` and `Connection(receive_timeout=...)`; "
        "neither is set by default.",
        STALES: "ldap3: `client_strategy=RESTARTABLE`, or a new `Connection` for each request.",
        RAISES: "ldap3: catch `ldap3.core.exceptions.LDAPException`; with "
        "`raise_exceptions=False`, look at `connection.result`.",
    },
    "requests": {
        WAITS: "requests: `timeout=(connect, read)` in each call; there is none by default.",
        STALES: "requests: mount `HTTPAdapter(max_retries=1)`: a kept connection may be dead.",
        POOLED: "requests: read or close a response that was asked for with `stream=True`.",
        RAISES: "requests: catch `requests.RequestException`, and call `raise_for_status()`.",
    },
    "httpx": {
        WAITS: "httpx: `timeout=httpx.Timeout(...)`, with `pool` in it.",
        STALES: "httpx: `HTTPTransport(retries=1)` repeats connects only; `keepalive_expiry` must "
        "be below the server's.",
        POOLED: "httpx: one client for the process, and `with client.stream(...)`.",
        RAISES: "httpx: catch `httpx.HTTPError`, and call `raise_for_status()`.",
    },
    "urllib3": {
        WAITS: "urllib3: `timeout=Timeout(connect=..., read=...)` and `PoolManager(block=True)`.",
        RAISES: "urllib3: catch `urllib3.exceptions.HTTPError`.",
    },
    "aiohttp": {
        WAITS: "aiohttp: `ClientTimeout(total=...)`; the default is 5 minutes.",
        POOLED: "aiohttp: use `async with session.get(...)`.",
        RAISES: "aiohttp: catch `aiohttp.ClientError` and `asyncio.TimeoutError`.",
    },
    "smtplib": {
        WAITS: "smtplib: `SMTP(host, timeout=...)`; there is none by default.",
        RAISES: "smtplib: catch `smtplib.SMTPException` and `OSError`.",
    },
    "django": {
        WAITS: "Django: `OPTIONS` of `DATABASES` and of `CACHES` take the driver's timeouts.",
        STALES: "Django: `CONN_HEALTH_CHECKS = True` where `CONN_MAX_AGE` is set.",
        RAISES: "Django: catch `django.db.OperationalError`, or answer 503 in `handler500` or in "
        "the middleware's `process_exception`.",
    },
    "django_redis": {
        WAITS: "django-redis: `SOCKET_CONNECT_TIMEOUT` and `SOCKET_TIMEOUT` in `OPTIONS`.",
        RAISES: "django-redis: `DJANGO_REDIS_IGNORE_EXCEPTIONS = True` if a miss will do.",
    },
    "pika": {
        WAITS: "pika: `socket_timeout`, `blocked_connection_timeout` and `heartbeat` of "
        "`ConnectionParameters`.",
        RAISES: "pika: catch `pika.exceptions.AMQPError`, and connect again.",
    },
    "pymongo": {
        WAITS: "PyMongo: `serverSelectionTimeoutMS`, `connectTimeoutMS` and `socketTimeoutMS`, or "
        "`timeoutMS` for all.",
        RAISES: "PyMongo: catch `pymongo.errors.PyMongoError`.",
    },
}
"""Library -> group of kinds -> its own settings."""
ALIASES = {
    "psycopg_pool": "psycopg",
    "psycopg_c": "psycopg",
    "psycopg_binary": "psycopg",
    "valkey": "redis",
    "aiosmtplib": "smtplib",
    "aioredis": "redis",
}
MOST = 2
"""Libraries that one advice names."""


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do, and where to read more."""

    text: str
    """Two or three sentences; empty where nothing general can be said."""
    page: str
    """A page below ``docs/``."""


def advice(weakness: Weakness) -> Advice:
    """What to do about ``weakness``."""
    group = _GROUP.get(weakness.kind, "")
    names = dict.fromkeys(ALIASES.get(name, name) for name in weakness.library.split())
    own = [LIBRARIES[name][group] for name in names if group in LIBRARIES.get(name, {})]
    return Advice(" ".join([GENERAL[weakness.kind], *own[:MOST]]).strip(), PAGES[weakness.kind])
