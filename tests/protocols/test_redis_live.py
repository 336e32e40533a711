"""Every fault of Redis between a real Valkey and redis-py: what a program sees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import redis
import redis.asyncio

from seism.model import ProxySpec, ToxicSpec
from tests.proxy.harness import Proxies
from tests.servers import Valkey


@dataclass
class Behind:
    """A Valkey behind a proxy that knows its protocol."""

    proxies: Proxies
    server: Valkey
    proxy: Any

    @property
    def port(self) -> int:
        port: int = self.proxy.address[1]
        return port

    def fault(self, type: str, exchange: dict[str, Any] | None = None, **attributes: Any) -> None:
        spec = ToxicSpec(type, "f", attributes=attributes, exchange=exchange or {})
        self.proxies.add_toxic("redis", spec)

    def heal(self) -> None:
        self.proxies.remove_toxic("redis", "f")

    def client(self, protocol: int, **options: Any) -> redis.Redis:
        return redis.Redis(
            port=self.port, protocol=protocol, socket_timeout=10, retry=None, **options
        )


@pytest.fixture(scope="module")
def valkey() -> Iterator[Valkey]:
    with Valkey() as server:
        yield server


@pytest.fixture
def behind(valkey: Valkey) -> Iterator[Behind]:
    with Proxies() as proxies:
        spec = ProxySpec("redis", f"127.0.0.1:{valkey.port}", protocol="redis")
        yield Behind(proxies, valkey, proxies.create(spec))
        with redis.Redis(port=valkey.port) as direct:
            direct.flushall()


def test_one(behind: Behind) -> None:
    client = behind.client(3, single_connection_client=True)
    client.set("k", "v")
    behind.fault("redis_loading")
    with pytest.raises(redis.exceptions.BusyLoadingError):
        client.get("k")
    behind.heal()
    assert client.get("k") == b"v"
    (began,) = behind.proxies.began
    print(began)
    print(behind.proxies.ended(1))
    client.close()
