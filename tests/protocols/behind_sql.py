"""A database behind a proxy that knows its protocol, and what is asked of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from seism.model import ProxySpec, ToxicSpec
from tests.processes import until
from tests.protocols.clients_sql import Client
from tests.proxy.harness import Proxies

MARK = 1000
"""Id of the row by which it is seen whether a transaction has been committed."""
INSERT = f"INSERT INTO items VALUES ({MARK}, 'mark')"


class Behind:
    """The proxy, and the database itself by ``direct``."""

    def __init__(self, proxies: Proxies, protocol: str, direct: int) -> None:
        self.proxies = proxies
        self.direct = direct
        spec = ProxySpec("db", f"127.0.0.1:{direct}", protocol=protocol)
        self.proxy = proxies.create(spec)
        self.port: int = self.proxy.address[1]

    @contextmanager
    def fault(
        self, type: str, exchange: dict[str, Any] | None = None, **attributes: Any
    ) -> Iterator[None]:
        """Armed while the block lasts."""
        spec = ToxicSpec(type, "f", attributes=attributes, exchange=exchange or {})
        self.proxies.add_toxic("db", spec)
        try:
            yield
        finally:
            self.proxies.remove_toxic("db", "f")

    def one(self) -> Any:
        """The only perturbation that there has been, and how it ended."""
        (began,), (ended,) = self.proxies.began, self.proxies.ended(1)
        assert dict(self.proxy.opaque) == {}
        return began.exchange, ended


@contextmanager
def behind(protocol: str, direct: int) -> Iterator[Behind]:
    with Proxies() as proxies:
        yield Behind(proxies, protocol, direct)


@contextmanager
def connected(client: type[Client], port: int, **options: Any) -> Iterator[Any]:
    """A connection of ``client``, closed when the block ends."""
    made = client(port, **options)
    try:
        yield made
    finally:
        made.close()


def marked(client: type[Client], port: int) -> int:
    """Whether the mark has been committed; takes it away."""
    with connected(client, port) as one:
        ((count,),) = one.run(f"SELECT count(*) FROM items WHERE id = {MARK}")
        one.run(f"DELETE FROM items WHERE id = {MARK}")
    return int(count)


def committed(client: type[Client], port: int) -> None:
    """Wait until the mark is there, by a server that may still be at it."""
    until(lambda: marked(client, port))
