"""What a Redis or Valkey server can answer instead of the truth.

An error is never the server's own: the command does not reach it. Inside a transaction the
server gets a command that it refuses, so that it discards the transaction as it would
have then; instead of EXEC it gets DISCARD.

The words of the errors are those of Valkey 9 and Redis 7 (``src/server.c``,
``createSharedObjects``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from seism.errors import ConfigurationError
from seism.options import option
from seism.protocols.base import AUTH, COMMAND, Exchange, Piece
from seism.protocols.fault import Answer, Close, Edit, Fault, FaultRow, Reaction, Replace, toxics
from seism.toxics.base import Rng, Toxic

SESSION, QUEUED, EXEC = "session", "queued", "exec"
"""Phases, beside those that all protocols have."""

_ERRORS = "https://redis.io/docs/latest/develop/reference/protocol-spec/#simple-errors"
_REFUSED = b"*1\r\n$12\r\nseism.refuse\r\n"
"""A command that no server knows."""
_DISCARD = b"*1\r\n$7\r\nDISCARD\r\n"


def words(text: str) -> frozenset[str]:
    """The names in a text."""
    return frozenset(text.split())


_TRANSACTION = words("MULTI DISCARD WATCH UNWATCH")
WRITES = words(
    "APPEND BITFIELD BITOP BLMOVE BLMPOP BLPOP BRPOP BRPOPLPUSH BZMPOP BZPOPMAX BZPOPMIN COPY DECR"
    " DECRBY DEL DELIFEQ EXPIRE EXPIREAT FLUSHALL FLUSHDB GEOADD GEORADIUS GEORADIUSBYMEMBER"
    " GEOSEARCHSTORE GETDEL GETEX GETSET HDEL HEXPIRE HEXPIREAT HGETDEL HGETEX HINCRBY HINCRBYFLOAT"
    " HMSET HPERSIST HPEXPIRE HPEXPIREAT HSET HSETEX HSETNX INCR INCRBY INCRBYFLOAT LINSERT LMOVE"
    " LMPOP LPOP LPUSH LPUSHX LREM LSET LTRIM MIGRATE MOVE MSET MSETEX MSETNX PERSIST PEXPIRE"
    " PEXPIREAT PFADD PFCOUNT PFDEBUG PFMERGE PSETEX RENAME RENAMENX RESTORE RESTORE-ASKING RPOP"
    " RPOPLPUSH RPUSH RPUSHX SADD SDIFFSTORE SET SETBIT SETEX SETNX SETRANGE SINTERSTORE SMOVE SORT"
    " SPOP SREM SUNIONSTORE SWAPDB UNLINK XACK XACKDEL XADD XAUTOCLAIM XCLAIM XDEL XDELEX"
    " XREADGROUP XSETID XTRIM ZADD ZDIFFSTORE ZINCRBY ZINTERSTORE ZMPOP ZPOPMAX ZPOPMIN ZRANGESTORE"
    " ZREM ZREMRANGEBYLEX ZREMRANGEBYRANK ZREMRANGEBYSCORE ZUNIONSTORE"
)
"""Commands that the server itself flags as writes: only these meet a read-only replica."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisRow(FaultRow):
    """A row of the tables below; ``RedisError`` explains its fields."""

    text: str
    writes: bool = False


class RedisError(Fault):
    """Base of the faults that answer with an error."""

    __slots__ = ()

    protocol: ClassVar[str] = "redis"
    phases: ClassVar[tuple[str, ...]] = (COMMAND, QUEUED, EXEC)
    source: ClassVar[str] = _ERRORS
    text: ClassVar[str]
    """The error without its code."""
    writes: ClassVar[bool] = False
    """Only commands that write meet it, and no EXEC, which may have none to carry out."""

    def fits(self, exchange: Exchange) -> bool:
        # A server takes these whatever state it is in, and refuses what they are for.
        if exchange.kind in _TRANSACTION:
            return False
        if self.writes and exchange.kind not in WRITES:
            return False
        return Fault.fits(self, exchange)

    def error(self) -> str:
        """The code and the text."""
        return f"{self.code} {self.text}"

    def reaction(self, exchange: Exchange, rng: Rng) -> Reaction:
        error = self.error()
        if exchange.phase == QUEUED:
            return Replace(f"-{error}\r\n".encode(), request=_REFUSED)
        if exchange.phase == EXEC:
            text = f"-EXECABORT Transaction discarded because of: {error}\r\n"
            return Replace(text.encode(), request=_DISCARD)
        return Answer(f"-{error}\r\n".encode())


@dataclass(frozen=True, slots=True)
class RedisMoved(RedisError):
    """The key's slot is served by another node of the cluster."""

    type: ClassVar[str] = "redis_moved"
    code: ClassVar[str] = "MOVED"
    source: ClassVar[str] = (
        "https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/"
        "#moved-redirection"
    )

    slot: int = option(0, help="the hash slot", minimum=0, maximum=16383)
    node: str = option("127.0.0.1:6379", help="the node that serves it: host:port")

    def __post_init__(self) -> None:
        if not self.node.isprintable() or " " in self.node:
            raise ConfigurationError(f"node: {self.node!r} is not allowed, it must be host:port")

    def error(self) -> str:
        return f"MOVED {self.slot} {self.node}"


@dataclass(frozen=True, slots=True)
class RedisNil(Fault):
    """The value is gone, as after an eviction: a read of one value finds nothing.

    GET, HGET, LINDEX and ZSCORE; the server's own state stays as it is.
    """

    type: ClassVar[str] = "redis_nil"
    protocol: ClassVar[str] = "redis"
    code: ClassVar[str] = "nil"
    source: ClassVar[str] = "https://redis.io/docs/latest/develop/reference/protocol-spec/#nulls"

    def fits(self, exchange: Exchange) -> bool:
        return exchange.kind in ("GET", "HGET", "LINDEX", "ZSCORE") and Fault.fits(self, exchange)

    def reaction(self, exchange: Exchange, rng: Rng) -> Reaction:
        return _Nil(b"_\r\n" if exchange.fields.get("resp") == "3" else b"$-1\r\n")


@dataclass(frozen=True, slots=True)
class RedisMaxClients(Fault):
    """The server has as many clients as maxclients allows: it says so to new ones, and closes."""

    type: ClassVar[str] = "redis_max_clients"
    protocol: ClassVar[str] = "redis"
    swept: ClassVar[str] = "full"
    lasts: ClassVar[bool] = True
    phases: ClassVar[tuple[str, ...]] = ()
    source: ClassVar[str] = "https://redis.io/docs/latest/develop/reference/clients/"

    @classmethod
    def opens(cls) -> bool:
        return True

    def fits(self, exchange: Exchange) -> bool:
        return exchange.number == 1 and Fault.fits(self, exchange)

    def reaction(self, exchange: Exchange, rng: Rng) -> Reaction:
        return Answer(b"-ERR max number of clients reached\r\n", Close())


class _Nil(Edit):
    """Errors, and what is nil already, stay as they are."""

    def __init__(self, nil: bytes) -> None:
        self._nil = nil
        self._lost = False

    def edit(self, piece: Piece) -> bytes:
        if piece.first:
            self._lost = piece.data[:1] in (b"$", b",") and piece.data != self._nil
            return self._nil if self._lost else piece.data
        return b"" if self._lost else piece.data


ERRORS = toxics(
    RedisError,
    RedisRow(
        type="redis_loading",
        lasts=True,
        help="The server has been restarted, and reads its dataset into memory.",
        code="LOADING",
        swept="LOADING",
        text="Redis is loading the dataset in memory",
        source="https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/",
    ),
    RedisRow(
        type="redis_readonly",
        lasts=True,
        failover=True,
        help="The server has become a replica, as after a failover: commands that write are "
        "refused.",
        code="READONLY",
        swept="READONLY",
        text="You can't write against a read only replica.",
        writes=True,
        source="https://redis.io/docs/latest/operate/oss_and_stack/management/replication/"
        "#read-only-replica",
    ),
    RedisRow(
        type="redis_oom",
        lasts=True,
        swept="out of memory",
        help="The server has reached maxmemory, and may not evict: commands that write are "
        "refused.",
        code="OOM",
        text="command not allowed when used memory > 'maxmemory'.",
        writes=True,
        source="https://redis.io/docs/latest/develop/reference/eviction/",
    ),
    RedisRow(
        type="redis_busy",
        lasts=True,
        help="A script has been running for longer than busy-reply-threshold.",
        code="BUSY",
        text="Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
        source="https://redis.io/docs/latest/develop/programmability/#maximum-execution-time",
    ),
    RedisRow(
        type="redis_masterdown",
        lasts=True,
        help="A replica has lost its primary, and may not serve stale data.",
        code="MASTERDOWN",
        text="Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        source="https://redis.io/docs/latest/operate/oss_and_stack/management/replication/",
    ),
    RedisRow(
        type="redis_clusterdown",
        lasts=True,
        help="The cluster has lost slots, or its majority.",
        code="CLUSTERDOWN",
        text="The cluster is down",
        source="https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/",
    ),
    RedisRow(
        type="redis_noauth",
        lasts=True,
        help="The server wants a password that the client has not given.",
        code="NOAUTH",
        phases=(COMMAND, QUEUED, EXEC, SESSION),
        text="Authentication required.",
        source="https://redis.io/docs/latest/operate/oss_and_stack/management/security/",
    ),
    RedisRow(
        type="redis_wrongpass",
        lasts=True,
        help="The password is no longer right: AUTH, or HELLO with AUTH, fails.",
        code="WRONGPASS",
        phases=(AUTH,),
        text="invalid username-password pair or user is disabled.",
        source="https://redis.io/docs/latest/commands/auth/",
    ),
)

FAULTS: tuple[type[Toxic], ...] = (*ERRORS, RedisMoved, RedisMaxClients, RedisNil)
