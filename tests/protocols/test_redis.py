"""The codec of Redis and Valkey, on bytes that real ones have spoken."""

from __future__ import annotations

import pytest
import redis

from seism.protocols.redis import Redis, _name
from seism_middleware.contract import DOWNSTREAM, UPSTREAM
from tests.protocols.conformance import Conformance, Sample, heard
from tests.servers import Valkey

HELLO = b"*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n"
WELCOME = (
    b"%3\r\n$6\r\nserver\r\n$6\r\nvalkey\r\n$5\r\nproto\r\n:3\r\n$7\r\nmodules\r\n*0\r\n"
)  # fmt: skip
INVALIDATE = b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nh\r\n"
FIELDS = b"%1\r\n$1\r\nf\r\n~2\r\n,1.5\r\n#t\r\n"
ATTRIBUTE = b"|1\r\n+ttl\r\n:3600\r\n"
SUBSCRIBED = b">3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n"
MESSAGE = b">3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$2\r\nhi\r\n"


def command(*words: str) -> bytes:
    parts = "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
    return f"*{len(words)}\r\n{parts}".encode()


SAMPLES = (
    Sample(
        "strings",
        [
            (UPSTREAM, command("SET", "user:1", "s3cret")),
            (DOWNSTREAM, b"+OK\r\n"),
            (UPSTREAM, command("GET", "user:1")),
            (DOWNSTREAM, b"$6\r\ns3cret\r\n"),
            (UPSTREAM, b"get user:2\r\n\r\n"),
            (DOWNSTREAM, b"$-1\r\n"),
            (UPSTREAM, b"*0\r\n" + command("nosuch")),
            (DOWNSTREAM, b"-ERR unknown command 'nosuch', with args beginning with: \r\n"),
        ],
        ["SET", "GET", "GET", "other"],
        secrets=["s3cret", "user:1"],
    ),
    Sample(
        "pipeline",
        [
            (UPSTREAM, command("MULTI") + command("INCR", "n") + command("LRANGE", "l", "0", "-1")
             + command("EXEC") + command("PING")),
            (DOWNSTREAM, b"+OK\r\n" + b"+QUEUED\r\n" * 2
             + b"*2\r\n:1\r\n*2\r\n$1\r\na\r\n*-1\r\n+PONG\r\n"),
        ],
        ["MULTI", "INCR", "LRANGE", "EXEC", "PING"],
    ),
    Sample(
        "resp3",
        [
            (UPSTREAM, HELLO),
            (DOWNSTREAM, WELCOME),
            (UPSTREAM, command("CLIENT", "TRACKING", "on") + command("HGETALL", "h")),
            (DOWNSTREAM, b"+OK\r\n" + INVALIDATE + ATTRIBUTE + FIELDS),
            (UPSTREAM, command("SUBSCRIBE", "news") + command("GET", "k")),
            (DOWNSTREAM, SUBSCRIBED + b"_\r\n" + MESSAGE),
        ],
        ["HELLO", "CLIENT", "HGETALL", "SUBSCRIBE", "GET"],
        skips=False,
    ),
    Sample(
        "no replies",
        [
            (UPSTREAM, command("CLIENT", "REPLY", "SKIP") + command("INCR", "n") + command("PING")),
            (DOWNSTREAM, b"+PONG\r\n"),
            (UPSTREAM, command("CLIENT", "REPLY", "OFF") + command("INCR", "n")
             + command("CLIENT", "REPLY", "ON")),
            (DOWNSTREAM, b"+OK\r\n"),
        ],
        ["CLIENT", "INCR", "PING", "CLIENT", "INCR", "CLIENT"],
    ),
    Sample(
        "large",
        [
            (UPSTREAM, command("SET", "k" * 600, "v" * 100_000)),
            (DOWNSTREAM, b"+OK\r\n"),
            (UPSTREAM, command("EVAL", "return 1", "1", "key:7", "x")),
            (DOWNSTREAM, b"$100000\r\n" + b"v" * 100_000 + b"\r\n"),
        ],
        ["SET", "EVAL"],
    ),
    Sample(
        "pubsub",
        [
            (UPSTREAM, command("GET", "k") + command("SUBSCRIBE", "news")),
            (DOWNSTREAM, b"$1\r\nv\r\n*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n"),
        ],
        ["GET", "SUBSCRIBE"],
    ),
    Sample(
        "subscribed no more",
        [
            (UPSTREAM, command("SUBSCRIBE", "news")),
            (DOWNSTREAM, b"*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n"),
            (DOWNSTREAM, b"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$2\r\nhi\r\n"),
            (UPSTREAM, command("UNSUBSCRIBE")),
        ],
        ["SUBSCRIBE", "UNSUBSCRIBE"],
        opaque="pub/sub",
    ),
    Sample("monitor", [(UPSTREAM, command("MONITOR"))], ["MONITOR"], opaque="MONITOR"),
)  # fmt: skip


class TestRedis(Conformance):
    codec = Redis
    samples = SAMPLES


def test_what_a_server_says_before_it_hangs_up_belongs_to_nobody() -> None:
    told = heard(Redis, [(DOWNSTREAM, b"-ERR max number of clients reached\r\n")])
    assert [(p.exchange, p.data[:4]) for p in told.pieces[DOWNSTREAM]] == [(None, b"-ERR")]
    assert heard(Redis, [(DOWNSTREAM, b"+OK\r\n")]).error == "a reply to nothing"


def test_subscriptions_are_followed() -> None:
    codec = Redis()
    for asked, subscription in (
        (command("PSUBSCRIBE", "a*", "b*"), "PSUBSCRIBE"),
        (command("SUBSCRIBE", "news"), "PSUBSCRIBE, SUBSCRIBE"),
        (command("PUNSUBSCRIBE", "a*"), "PSUBSCRIBE, SUBSCRIBE"),
        (command("PUNSUBSCRIBE", "b*"), "SUBSCRIBE"),
        (command("PING"), "SUBSCRIBE"),
    ):
        list(codec.receive(UPSTREAM, asked))
        assert codec.subscription == subscription
    said = b"*2\r\n$4\r\npong\r\n$0\r\n\r\n*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$2\r\nhi\r\n"
    assert all(piece.exchange is None for piece in codec.receive(DOWNSTREAM, said))
    assert codec.opaque == ""
    list(codec.receive(UPSTREAM, command("UNSUBSCRIBE")))
    assert (codec.subscription, codec.opaque) == ("", "pub/sub")


def test_keys_and_phases() -> None:
    asked = heard(Redis, [(UPSTREAM, b"".join((
        command("get", "user:1"), command("EVAL", "return 1", "1", "user:2"), command("PING", "x"),
        command("OBJECT", "ENCODING", "user:3"), command("SELECT", "1"), command("AUTH", "pw"),
        command("MULTI"), command("DEL", "user:4"), command("EXEC"), command("DEL", "user:5"),
    )))])  # fmt: skip
    assert [(e.kind, e.phase, e.fields.get("key")) for e in asked.exchanges()] == [
        ("GET", "command", "user:1"), ("EVAL", "command", "user:2"), ("PING", "command", None),
        ("OBJECT", "command", "user:3"), ("SELECT", "session", None), ("AUTH", "auth", None),
        ("MULTI", "command", None), ("DEL", "queued", "user:4"), ("EXEC", "exec", None),
        ("DEL", "command", "user:5"),
    ]  # fmt: skip


@pytest.mark.parametrize("word", ["hunter2", "s3cret.token", "PASSWORD", "AKIA-17", "x" * 600])
def test_a_word_that_is_no_command_is_not_shown(word: str) -> None:
    listener = heard(Redis, [(UPSTREAM, b"*1\r\n$%d\r\n%b\r\n" % (len(word), word.encode()))])
    (piece,) = listener.pieces[UPSTREAM]
    assert piece.exchange is not None
    assert (piece.exchange.kind, piece.exchange.summary) == ("other", "other, 0 arguments")


def test_commands_of_modules_are_shown() -> None:
    listener = heard(Redis, [(UPSTREAM, b"*2\r\n$8\r\njson.get\r\n$1\r\nk\r\n")])
    (piece,) = listener.pieces[UPSTREAM]
    assert piece.exchange is not None and piece.exchange.kind == "JSON.GET"


def test_every_command_of_a_server_is_known() -> None:
    with Valkey() as server, redis.Redis(port=server.port) as client:
        names = [name.upper().partition(b"|")[0] for name in client.execute_command("COMMAND LIST")]
    assert len(names) > 200
    assert [name for name in names if _name(name) == "other"] == []
