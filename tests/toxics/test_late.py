from __future__ import annotations

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from seism.demo.backends import Backends
from seism.model import ProxySpec
from seism.toxics.base import Began, Chunk, Ended, Eof, Forward, Wake
from seism.toxics.late import Late
from tests.proxy.harness import Proxies
from tests.toxics.conversation import Conversation

LATE = Late(delay=250, jitter=0, pause=500)


def test_one_reply_is_late_and_the_next_ones_are_not_until_the_pause_is_over() -> None:
    talk = Conversation(LATE)
    assert talk.data(b"a", at=1) == [Began(0), Wake(1.25)]
    assert talk.data(b"b", at=1.125) == []
    assert talk.due(at=1.25) == [
        Forward(Chunk(b"a", 0)),
        Forward(Chunk(b"b", 1)),
        Ended("passed"),
    ]
    assert talk.data(b"c", at=1.5) == [Forward(Chunk(b"c", 2))]
    assert talk.data(b"d", at=1.75) == [Began(3), Wake(2.0)]
    assert talk.eof(at=1.8) == []
    assert talk.due(at=2.0) == [Forward(Chunk(b"d", 3)), Ended("passed"), Forward(Eof(4))]


def test_its_jitter_is_of_the_seed_and_removal_lets_go() -> None:
    first, second = (Conversation(Late(delay=250, jitter=100), seed=7) for _ in range(2))
    assert first.data(b"a", at=1) == second.data(b"a", at=1)
    assert first.removed(at=1.1) == [Forward(Chunk(b"a", 0)), Ended("removed")]


def test_a_deadline_below_the_delay_is_missed_and_one_above_is_kept() -> None:
    with Backends(schema=()) as running, Proxies() as proxies:
        proxies.create(ProxySpec("cache", running.addresses["cache"]))
        proxies.toxic("cache", "late", delay=300, jitter=0)
        host, port = proxies.get("cache").address
        raised = []
        for timeout in (0.15, 3.0):
            client = redis.Redis(
                host, port, protocol=2, socket_timeout=timeout, retry=Retry(NoBackoff(), 0)
            )
            try:
                client.get("a")
            except redis.TimeoutError:
                raised.append(timeout)
            client.close()
        assert raised == [0.15]
