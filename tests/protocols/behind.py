"""A real server behind a proxy that knows its protocol, and what clients make of faults there."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seism.model import ProxySpec, ToxicSpec
from tests.protocols.record import DATA
from tests.proxy.harness import Proxies

OUTCOMES = DATA / "outcomes"
"""What each client makes of each fault, one file per protocol: the source of the docs' tables.

``SEISM_RECORD=1`` writes them anew; otherwise tests compare with them.
"""


@dataclass
class Behind:
    """A server that is reached directly at ``server``, and through a proxy at ``port``."""

    proxies: Proxies
    protocol: str
    server: int
    port: int

    def fault(self, type: str, exchange: dict[str, Any] | None = None, **attributes: Any) -> None:
        spec = ToxicSpec(type, "fault", attributes=attributes, exchange=exchange or {})
        self.proxies.add_toxic(self.protocol, spec)

    def heal(self) -> None:
        self.proxies.remove_toxic(self.protocol, "fault")


@contextmanager
def behind(protocol: str, server: int) -> Iterator[Behind]:
    """A proxy of its own in front of the server on port ``server``."""
    with Proxies() as proxies:
        spec = ProxySpec(protocol, f"127.0.0.1:{server}", protocol=protocol)
        proxy = proxies.create(spec)
        yield Behind(proxies, protocol, server, proxy.address[1])


def outcome(call: Callable[[], object], code: Callable[[Any], object] = lambda error: "") -> str:
    """What ``call`` ends with: the exception's class and its code, or what it returns."""
    try:
        return f"returns {call()!r}"
    except Exception as error:
        kind = type(error)
        found = str(code(error))
        return f"{kind.__module__}.{kind.__qualname__}" + (f" ({found})" if found else "")


def check(protocol: str, fault: str, client: str, found: str) -> None:
    """Compare with what is known, or write it down."""
    path: Path = OUTCOMES / f"{protocol}.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    if os.environ.get("SEISM_RECORD"):
        known.setdefault(fault, {})[client] = found
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    assert known.get(fault, {}).get(client) == found, f"{fault} with {client}"
