"""Redis and Valkey: RESP2 and RESP3, as the servers and their clients speak them.

A request is an array of bulk strings (or a line: an inline command), and replies come in
order. Payloads are skipped by their length. A command is held until its name and the
arguments that hold its key are there, or are known to be too long to look at.

What the server says without having been asked has a type of its own in RESP3 (push), and
none in RESP2: as long as a client is subscribed there, no reply belongs to an exchange. From the
end of its subscriptions, from MONITOR and from PSYNC on, a connection is opaque once all that came
before has been answered. Streamed strings and aggregates, which
no server sends, are ProtocolErrors.

Source: redis.io/docs/latest/develop/reference/protocol-spec.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import ClassVar

from seism.protocols.base import ADDS, AUTH, COMMAND, COUNTS, HELD_LIMIT, Exchange, ProtocolError
from seism.protocols.framed import Frame, Framed, Head, Until
from seism.protocols.redis_faults import EXEC, FAULTS, QUEUED, SESSION, words
from seism.toxics.base import Toxic

_LONGEST_LINE = HELD_LIMIT
"""Bytes of an inline command or a simple reply; the server's PROTO_INLINE_MAX_SIZE."""
_LONGEST_NUMBER = 32
"""Bytes of a line that holds nothing but a number, its end included."""
_NUMBER_LINE = Until(b"\r\n", _LONGEST_NUMBER + 1)
_MOST_ARGUMENTS = 1024 * 1024
_LOOKED_AT = 512
"""Bytes of an argument; a longer one is no key that a rule could name."""
_NUMBER = re.compile(rb"([+-]?[0-9]{1,19})\r\n")
_LONGEST_NAME = 32

_AUTH = words("AUTH HELLO")
_SESSION = words("CLIENT SELECT RESET QUIT READONLY READWRITE ASKING")
_KEYLESS = words(
    "PING ECHO INFO CONFIG COMMAND COMMANDLOG DBSIZE FLUSHALL FLUSHDB KEYS SCAN RANDOMKEY TIME"
    " WAIT WAITAOF SCRIPT FUNCTION ACL CLUSTER CLUSTERSCAN LATENCY SLOWLOG MODULE DEBUG ROLE"
    " REPLICAOF SLAVEOF FAILOVER SAVE BGSAVE BGREWRITEAOF LASTSAVE SHUTDOWN SWAPDB PUBLISH PUBSUB"
    " MULTI EXEC DISCARD UNWATCH LOLWUT SUBSCRIBE PSUBSCRIBE SSUBSCRIBE UNSUBSCRIBE PUNSUBSCRIBE"
    " SUNSUBSCRIBE MONITOR SYNC PSYNC REPLCONF AUTH HELLO CLIENT SELECT RESET QUIT READONLY"
    " READWRITE ASKING"
)
_KEY_AT = {
    **dict.fromkeys(words("EVAL EVALSHA EVAL_RO EVALSHA_RO FCALL FCALL_RO BLMPOP BZMPOP"), 3),
    **dict.fromkeys(words("OBJECT XINFO XGROUP MEMORY BITOP LMPOP ZMPOP SINTERCARD MSETEX"), 2),
    **dict.fromkeys(words("ZINTERCARD ZUNION ZINTER ZDIFF"), 2),
}
"""Which argument is the first key, where it is not the first argument."""
_KEYED = words(
    "APPEND BITCOUNT BITFIELD BITFIELD_RO BITPOS BLMOVE BLPOP BRPOP BRPOPLPUSH BZPOPMAX BZPOPMIN"
    " COPY DECR DECRBY DEL DELIFEQ DUMP EXISTS EXPIRE EXPIREAT EXPIRETIME GEOADD GEODIST GEOHASH"
    " GEOPOS GEORADIUS GEORADIUSBYMEMBER GEORADIUSBYMEMBER_RO GEORADIUS_RO GEOSEARCH GEOSEARCHSTORE"
    " GET GETBIT GETDEL GETEX GETRANGE GETSET HDEL HEXISTS HEXPIRE HEXPIREAT HEXPIRETIME HGET"
    " HGETALL HGETDEL HGETEX HINCRBY HINCRBYFLOAT HKEYS HLEN HMGET HMSET HPERSIST HPEXPIRE"
    " HPEXPIREAT HPEXPIRETIME HPTTL HRANDFIELD HSCAN HSET HSETEX HSETNX HSTRLEN HTTL HVALS INCR"
    " INCRBY INCRBYFLOAT LCS LINDEX LINSERT LLEN LMOVE LPOP LPOS LPUSH LPUSHX LRANGE LREM LSET"
    " LTRIM MGET MIGRATE MOVE MSET MSETNX PERSIST PEXPIRE PEXPIREAT PEXPIRETIME PFADD PFCOUNT"
    " PFDEBUG PFMERGE PFSELFTEST PSETEX PTTL RENAME RENAMENX RESTORE RESTORE-ASKING RPOP RPOPLPUSH"
    " RPUSH RPUSHX SADD SCARD SDIFF SDIFFSTORE SET SETBIT SETEX SETNX SETRANGE SINTER SINTERSTORE"
    " SISMEMBER SMEMBERS SMISMEMBER SMOVE SORT SORT_RO SPOP SPUBLISH SRANDMEMBER SREM SSCAN STRLEN"
    " SUBSTR SUNION SUNIONSTORE TOUCH TTL TYPE UNLINK WATCH XACK XACKDEL XADD XAUTOCLAIM XCLAIM"
    " XDEL XDELEX XLEN XPENDING XRANGE XREAD XREADGROUP XREVRANGE XSETID XTRIM ZADD ZCARD ZCOUNT"
    " ZDIFFSTORE ZINCRBY ZINTERSTORE ZLEXCOUNT ZMSCORE ZPOPMAX ZPOPMIN ZRANDMEMBER ZRANGE"
    " ZRANGEBYLEX ZRANGEBYSCORE ZRANGESTORE ZRANK ZREM ZREMRANGEBYLEX ZREMRANGEBYRANK"
    " ZREMRANGEBYSCORE ZREVRANGE ZREVRANGEBYLEX ZREVRANGEBYSCORE ZREVRANK ZSCAN ZSCORE ZUNIONSTORE"
    " VADD VCARD VDIM VEMB VGETATTR VINFO VISMEMBER VLINKS VRANDMEMBER VRANGE VREM VSETATTR VSIM"
)
"""The other commands of Redis and Valkey: one that is missing here is shown as ``other``."""
_MODULES = re.compile(r"(?:BF|CF|CMS|FT|JSON|TDIGEST|TOPK|TS)\.[A-Z]{2,16}")
_SUBSCRIBES = words("SUBSCRIBE PSUBSCRIBE SSUBSCRIBE UNSUBSCRIBE PUNSUBSCRIBE SUNSUBSCRIBE")
_UNSUBSCRIBES = words("UNSUBSCRIBE PUNSUBSCRIBE SUNSUBSCRIBE")
_BLOCKING = words("BLPOP BRPOP BLMOVE BRPOPLPUSH BLMPOP BZPOPMIN BZPOPMAX BZMPOP XREAD XREADGROUP")
_TAKES_OVER = {"MONITOR": "MONITOR", "SYNC": "replication", "PSYNC": "replication"}
_ENDS_MULTI = words("EXEC DISCARD RESET")


class Redis(Framed[Exchange]):
    """One connection to a Redis or Valkey server."""

    name: ClassVar[str] = "redis"
    matches: ClassVar[dict[str, str]] = {
        "key": "the first key of the command",
        "resp": "the version of the protocol, 2 or 3",
    }
    phases: ClassVar[dict[str, str]] = {
        COMMAND: "a command",
        AUTH: "AUTH, HELLO",
        SESSION: "CLIENT, SELECT, RESET, QUIT, READONLY, READWRITE, ASKING",
        QUEUED: "a command between MULTI and EXEC",
        EXEC: "EXEC",
    }
    changes: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("LPUSH", "RPUSH", "LINSERT", "XADD"), ADDS),
        **dict.fromkeys(
            (
                "INCR",
                "INCRBY",
                "INCRBYFLOAT",
                "DECR",
                "DECRBY",
                "HINCRBY",
                "HINCRBYFLOAT",
                "ZINCRBY",
                "APPEND",
                "LPUSHX",
                "RPUSHX",
            ),
            COUNTS,
        ),
    }
    """Whatever sets a key may be a cache's: it is left out."""
    blocking: ClassVar[frozenset[str]] = frozenset(_BLOCKING)
    faults: ClassVar[tuple[type[Toxic], ...]] = FAULTS

    def __init__(self) -> None:
        super().__init__()
        self._asking: Exchange | None = None
        """The request that is in the middle of its arguments; see ``_left``."""
        self._left = 0
        """Arguments of the request that have not begun."""
        self._need = 0
        """Values of the reply that have not begun; 0 between replies."""
        self._pushed = False
        self._version = "2"
        self._multi = False
        self._quiet = 0
        """Commands that get no reply: CLIENT REPLY SKIP; below 0: all, CLIENT REPLY OFF."""
        self._taken_over = ""
        """Why what comes now belongs to no exchange."""
        self._channels: dict[str, int] = {}
        """Kind of subscription -> how many channels, as its client has asked."""

    def effect(self, exchange: Exchange, data: bytes) -> str:
        # What a transaction queues is carried out, or not, by its EXEC.
        return super().effect(exchange, data) if exchange.phase == COMMAND else ""

    def refuses(self, data: bytes) -> bool:
        return data[:1] == b"-"

    def skip(self, exchange: Exchange) -> None:
        super().skip(exchange)
        if exchange.kind == "MULTI":
            self._multi = False
        self._settle()

    def _passed(self, exchange: Exchange | None, *, reply: bool) -> None:
        if reply:
            self._waiting.popleft()
        self._settle()

    def _settle(self) -> None:
        if self._taken_over and not self._waiting and not self.subscription:
            self.opaque = self._taken_over

    def _subscribe(self, name: str, channels: int) -> None:
        kind = name.replace("UNSUBSCRIBE", "SUBSCRIBE")
        known = self._channels.get(kind, 0)
        if name not in _UNSUBSCRIBES:
            self._channels[kind] = known + channels
        else:
            self._channels[kind] = max(0, known - channels) if channels else 0
        self.subscription = ", ".join(kind for kind, count in self._channels.items() if count)

    # Requests

    def _request(self, buffer: bytes, at: int) -> Head:
        first = self._asking is None
        if first:
            head = self._begin(buffer, at)
            if not isinstance(head, Frame) or head.exchange is None:
                return head
            exchange, end = head.exchange, at + head.size
        else:
            assert self._asking is not None
            exchange, end = self._asking, at
        while self._left and end < len(buffer):
            argument = _bulk(buffer, end)
            if argument is None:
                break
            end = argument[1] + argument[0] + 2
            self._left -= 1
        if end == at:
            return _NUMBER_LINE
        self._asking = exchange if self._left else None
        return Frame(end - at, exchange, first, not self._left)

    def _begin(self, data: bytes, start: int) -> Head:
        """Find out what the command at ``start`` is, as far as its unread arguments.

        The frame of what is empty has no exchange.
        """
        if data[start] != 0x2A:
            return self._inline(data, start)
        line = _line(data, start + 1)
        if line is None:
            return _NUMBER_LINE
        count, at = line
        if count > _MOST_ARGUMENTS:
            raise ProtocolError(f"a command of {count} arguments")
        if count <= 0:
            return Frame(at - start)
        arguments: list[bytes] = []
        wanted = 1
        while len(arguments) < min(wanted, count):
            line = _bulk(data, at) if at < len(data) else None
            if line is None:
                return len(data) - start + 1
            size, at = line
            if size > _LOOKED_AT:
                arguments.append(b"")
                at += size + 2
                break
            if at + size + 2 > len(data):
                return at + size + 2 - start
            arguments.append(data[at : at + size])
            at += size + 2
            if len(arguments) == 1:
                wanted = self._wanted(_name(arguments[0]))
        self._left = count - len(arguments)
        return Frame(at - start, self._ask(arguments, count))

    def _inline(self, data: bytes, start: int) -> Head:
        end = data.find(b"\n", start, start + _LONGEST_LINE)
        if end < 0:
            if len(data) - start >= _LONGEST_LINE:
                raise ProtocolError("an inline command that does not end")
            return Until(b"\n", _LONGEST_LINE)
        words = data[start:end].split()
        exchange = self._ask([word[:_LOOKED_AT] for word in words[:4]], len(words))
        return Frame(end + 1 - start, exchange)

    def _wanted(self, name: str) -> int:
        """How many arguments, the name included, it takes to say what a command does."""
        if name == "CLIENT":
            return 3
        if not self.detail or name in _KEYLESS:
            return 1
        return _KEY_AT.get(name, 1) + 1

    def _ask(self, arguments: list[bytes], count: int) -> Exchange | None:
        if not arguments:
            return None
        name = _name(arguments[0])
        self._count += 1
        exchange = Exchange(self._count, name, self._phase(name), fields={"resp": self._version})
        if self.detail:
            exchange.summary = f"{name}, {count - 1} argument{'s' * (count != 2)}"
            at = _KEY_AT.get(name, 1)
            if name not in _KEYLESS and at < len(arguments):
                exchange.fields["key"] = arguments[at].decode("utf-8", "backslashreplace")
        if name in _SUBSCRIBES and not self._multi:
            self._subscribe(name, count - 1)
        exchange.replies = self._replies_to(name, arguments)
        if name in _ENDS_MULTI:
            self._multi = False
        elif name == "MULTI":
            self._multi = True
        if exchange.replies:
            self._waiting.append(exchange)
        else:
            exchange.answered = True
        return exchange

    def _phase(self, name: str) -> str:
        if name in _AUTH:
            return AUTH
        if name in _SESSION:
            return SESSION
        if not self._multi or name in ("MULTI", "DISCARD", "WATCH"):
            return COMMAND
        return EXEC if name == "EXEC" else QUEUED

    def _replies_to(self, name: str, arguments: list[bytes]) -> bool:
        if self._taken_over:
            return False
        if name in _TAKES_OVER:
            self._taken_over = _TAKES_OVER[name]
            return False
        if name in _SUBSCRIBES and not self._multi:
            # In RESP3 they are answered by pushed messages.
            self._taken_over = "" if self._version == "3" else "pub/sub"
            return False
        quiet = self._quiet != 0
        if self._quiet > 0:
            self._quiet -= 1
        if name == "CLIENT" and [a.upper() for a in arguments[1:2]] == [b"REPLY"]:
            how = arguments[2].upper() if len(arguments) > 2 else b""
            if how == b"ON":
                self._quiet = 0
                return True
            if how == b"OFF":
                self._quiet = -1
            elif how == b"SKIP" and self._quiet >= 0:
                self._quiet = 1
            return how not in (b"OFF", b"SKIP") and not quiet
        return not quiet

    # Replies

    def _reply(self, buffer: bytes, at: int) -> Head:
        first = not self._need
        if first:
            self._pushed = buffer[at] == 0x3E or not self._waiting
            if not self._waiting and buffer[at] not in b">-" and not self._taken_over:
                raise ProtocolError("a reply to nothing")
        need, end = self._need or 1, at
        while need and end < len(buffer):
            found = _value(buffer, end)
            if not isinstance(found, tuple):
                if end == at:
                    return found
                break
            more, end = found
            need += more
        self._need = need
        if self._pushed:
            return Frame(end - at, None, cut=need > 0)
        exchange = self._waiting[0]
        if first and exchange.kind == "HELLO":
            self._version = {0x25: "3", 0x2A: "2"}.get(buffer[at], self._version)
        return Frame(end - at, exchange, first, not need)


def _value(data: bytes, at: int) -> tuple[int, int] | Until:
    """(values that are needed more, where the next one begins) with the one at ``at``."""
    kind = data[at]
    if kind in _LINES:
        end = data.find(b"\r\n", at, at + _LONGEST_LINE)
        if end >= 0:
            return -1, end + 2
        if len(data) - at >= _LONGEST_LINE:
            raise ProtocolError("a line that does not end")
        return Until(b"\r\n", _LONGEST_LINE)
    if kind not in _COUNTED:
        raise ProtocolError(f"a reply of unknown type {chr(kind)!r}")
    line = _line(data, at + 1)
    if line is None:
        return _NUMBER_LINE
    count, end = line
    if kind in _BULKS:
        return -1, end + (count + 2 if count >= 0 else 0)
    if kind == 0x7C:  # an attribute comes before the value that it is of
        return 2 * max(count, 0), end
    return max(count, 0) * (2 if kind == 0x25 else 1) - 1, end


def _bulk(data: bytes, at: int) -> tuple[int, int] | None:
    """The size of an argument whose header is at ``at``, and where it begins."""
    if data[at] != 0x24:
        raise ProtocolError("an argument that is no bulk string")
    line = _line(data, at + 1)
    if line is not None and line[0] < 0:
        raise ProtocolError("an argument of negative size")
    return line


_LINES = frozenset(b"+-:_,#(")
_BULKS = frozenset(b"$=!")
_COUNTED = _BULKS | frozenset(b"*%~>|")


def _line(data: bytes, at: int) -> tuple[int, int] | None:
    """The number at ``at`` and where its line ends; None: it is not there yet."""
    found = _NUMBER.match(data, at)
    if found is not None:
        return int(found[1]), found.end()
    if b"\r\n" in data[at : at + _LONGEST_NUMBER] or len(data) - at >= _LONGEST_NUMBER:
        raise ProtocolError("a length that is no number")
    return None


@functools.lru_cache(256)
def _name(argument: bytes) -> str:
    """The command, if it is a known one: what else is there may be a value."""
    name = argument[:_LONGEST_NAME].decode("latin-1").upper()
    known = name in _KEYED or name in _KEYLESS or name in _KEY_AT or _MODULES.fullmatch(name)
    return name if known else "other"
