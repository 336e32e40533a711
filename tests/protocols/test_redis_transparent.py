"""redis-py through a proxy that follows its every byte and alters none."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial

import pytest
import redis
import redis.asyncio

from seism.model import ToxicSpec
from seism.protocols.redis import Redis
from seism_middleware.contract import DOWNSTREAM, UPSTREAM
from tests.protocols.conformance import cut, heard
from tests.protocols.transparent import assert_transparent
from tests.servers import Valkey

NEVER = ToxicSpec("redis_busy", exchange={"kind": "NEVER"})


@pytest.fixture(scope="module")
def valkey() -> Iterator[Valkey]:
    with Valkey() as server:
        yield server


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("kind", ["sync", "asyncio"])
def test_a_client_and_its_server_see_no_difference(
    valkey: Valkey, kind: str, protocol: int
) -> None:
    talk = partial(_sync, protocol) if kind == "sync" else partial(_asyncio, protocol)
    for client, server in assert_transparent(valkey.port, "redis", NEVER, talk):
        turns = [(UPSTREAM, client), (DOWNSTREAM, server)]
        whole = heard(Redis, turns)
        assert whole.error == ""
        assert all(exchange.answered for exchange in whole.exchanges())
        assert heard(Redis, list(cut(turns, [7, 1, 1460, 3]))).shape() == whole.shape()


def _sync(protocol: int, port: int) -> None:
    with redis.Redis(port=port, protocol=protocol, retry=None) as client:
        client.flushall()
        client.set("k", b"\r\n$5\r\n" * 1000, ex=1000)
        assert client.get("k") == b"\r\n$5\r\n" * 1000
        client.set("large", "v" * 3_000_000)
        assert len(client.get("large") or b"") == 3_000_000
        client.hset("h", mapping={"a": "1", "b": "2"})
        assert client.hgetall("h") == {b"a": b"1", b"b": b"2"}
        client.zadd("z", {"a": 1.5})
        client.zrange("z", 0, -1, withscores=True)
        with pytest.raises(redis.ResponseError):
            client.execute_command("NOSUCH", "x")
        with client.pipeline(transaction=False) as pipe:
            for number in range(2000):
                pipe.incrby("n", number)
            assert len(pipe.execute()) == 2000
        with client.pipeline() as pipe:
            pipe.watch("k")
            pipe.multi()
            assert pipe.lpush("l", "a").lrange("l", 0, -1).execute() == [1, [b"a"]]
        assert client.eval("return {1, {2, 'x'}, false}", 1, "k") == [1, [2, b"x"], None]
        assert client.blpop(["nothing"], timeout=1) is None
        client.xadd("x", {"f": "v"}, id="1-1")
        client.xread({"x": "0"})


def _asyncio(protocol: int, port: int) -> None:
    async def talk() -> None:
        async with redis.asyncio.Redis(port=port, protocol=protocol, retry=None) as client:
            await client.flushall()
            await client.set("k", "v" * 100_000)
            assert await client.getrange("k", 0, 2) == b"vvv"
            async with client.pipeline() as pipe:
                await pipe.incr("n").mget("n", "k", "none").execute()
            assert await client.keys("*")

    asyncio.run(talk())
