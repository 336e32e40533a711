"""A real server behind a proxy that knows its protocol, and what clients make of faults there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from seism.model import ProxySpec, ToxicSpec
from seism.proxy.proxy import Proxy
from tests.protocols.outcome import seen
from tests.proxy.harness import Proxies

SAME = "the same connection works"
NEW = "it makes a new connection"
LEFT = "a new connection works"


@dataclass
class Behind:
    """A server that is reached directly at ``server``, and through a proxy at ``port``."""

    proxies: Proxies
    protocol: str
    server: int
    proxy: Proxy

    @property
    def port(self) -> int:
        assert self.proxy.address is not None
        return self.proxy.address[1]

    def fault(
        self, type: str, exchange: dict[str, Any] | None = None, **attributes: Any
    ) -> AbstractContextManager[Any]:
        """Arm it; ``heal``, or the end of a block with what this returns, disarms it."""
        spec = ToxicSpec(type, "fault", attributes=attributes, exchange=exchange or {})
        self.proxies.add_toxic(self.protocol, spec)
        armed = ExitStack()
        armed.callback(self.heal)
        return armed

    def heal(self) -> None:
        self.proxies.remove_toxic(self.protocol, "fault")

    def one(self) -> Any:
        """The only perturbation that there has been, and how it ended."""
        (began,), (ended,) = self.proxies.began, self.proxies.ended(1)
        assert dict(self.proxy.opaque) == {}
        return began.exchange, ended

    def after(self, call: Callable[[], object]) -> str:
        """What ``call`` goes through, after the perturbations that there have been."""
        faults = list(self.proxies.began)
        probe = ToxicSpec("exchange_delay", "probe", attributes={"delay": 0})
        self.proxies.add_toxic(self.protocol, probe)
        call()
        self.proxies.remove_toxic(self.protocol, "probe")
        used = {record.connection for record in self.proxies.began[len(faults) :]}
        assert used
        return SAME if {fault.connection for fault in faults} & used else NEW


@contextmanager
def behind(protocol: str, server: int) -> Iterator[Behind]:
    """A proxy of its own in front of the server on port ``server``."""
    with Proxies() as proxies:
        spec = ProxySpec(protocol, f"127.0.0.1:{server}", protocol=protocol)
        yield Behind(proxies, protocol, server, proxies.create(spec))


def outcome(call: Callable[[], object], code: Callable[[Any], object] = lambda error: "") -> str:
    """What ``call`` ends with: the exception's class and its code, or what it returns."""
    try:
        return seen(None, call())
    except Exception as error:
        return f"{seen(error)} {code(error)}".strip()
