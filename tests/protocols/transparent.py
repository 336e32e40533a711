"""What a client says directly, and what it says through a proxy whose faults never match."""

from __future__ import annotations

from collections.abc import Callable

from seism.model import ProxySpec, ToxicSpec
from tests.protocols.record import Said, relay
from tests.proxy.harness import Proxies, eventually


def assert_transparent(
    port: int,
    protocol: str,
    never: ToxicSpec,
    talk: Callable[[int], None],
    ways: int = 1,
    opaque: str = "",
) -> list[Said]:
    """``talk``, given a port, has the same conversation through a proxy with ``never`` armed.

    Not one byte differs between the two sides of the proxy, and the client says what it
    says directly. ``talk`` closes what it opens, and is deterministic; of a client that says
    it in one of several ways, as replies come, so many direct talks are listened to, and of
    one that never says it twice alike, none. ``opaque``: why it is not understood to its end.
    Returns what was said.
    """
    directly = []
    for _ in range(ways):
        with relay(port) as direct:
            talk(direct.port)
        directly.append([client for client, _ in direct.said()])
    with relay(port) as behind, Proxies() as proxies:
        spec = ProxySpec("backend", f"127.0.0.1:{behind.port}", protocol=protocol)
        proxy = proxies.create(spec, [never])
        with relay(proxy.address[1]) as before:
            talk(before.port)
        eventually(lambda: proxy.connections == 0)
        assert proxies.began == []
        assert dict(proxy.opaque) == ({opaque: 1} if opaque else {})
    assert before.said() == behind.said()
    assert not ways or [client for client, _ in before.said()] in directly
    assert any(server for _, server in before.said())
    return before.said()
