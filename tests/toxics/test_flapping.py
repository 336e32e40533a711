from __future__ import annotations

import pytest
import redis
from redis.backoff import ConstantBackoff, NoBackoff
from redis.retry import Retry

from seism.demo.backends import Backends
from seism.model import ProxySpec
from seism.toxics.base import Began, Ended, Reset, Wake
from seism.toxics.flapping import Flapping, _Clock
from tests.proxy.harness import Proxies
from tests.toxics.conversation import Conversation

GONE = [Began(), Ended("reset"), Reset()]


def talk(clock: _Clock) -> Conversation:
    made = Conversation(Flapping(away=250, back=500))
    made.stage.common = clock
    return made


def test_it_is_away_and_back_at_the_same_times_for_all() -> None:
    clock = _Clock()
    assert talk(clock).started(at=1) == GONE
    later = talk(clock)
    assert later.started(at=1.25) == [Wake(1.75)]
    assert later.due(at=1.75) == GONE
    assert talk(clock).started(at=1.9) == GONE
    changed = talk(clock)
    changed.started(at=2.0)
    assert changed.updated(Flapping(away=500, back=500), at=2.25) == GONE


def test_a_client_that_waits_between_its_tries_gets_through() -> None:
    with Backends(schema=()) as running, Proxies() as proxies:
        proxies.create(ProxySpec("cache", running.addresses["cache"]))
        host, port = proxies.get("cache").address
        proxies.toxic("cache", "flapping", away=200, back=3_600_000)
        naive = redis.Redis(host, port, protocol=2, retry=Retry(NoBackoff(), 1))
        with pytest.raises(redis.ConnectionError):
            naive.get("a")
        patient = redis.Redis(host, port, protocol=2, retry=Retry(ConstantBackoff(0.1), 50))
        assert patient.get("a") is None
        for client in (naive, patient):
            client.close()
