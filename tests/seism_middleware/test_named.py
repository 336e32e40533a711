"""Which backends a text of the log names."""

from __future__ import annotations

import pytest

from seism_middleware.contract import Proxied
from seism_middleware.ledger import Ledger


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("the db is away", ("db",)),
        ('connection to server at "127.0.0.1", port 5432 failed', ("db",)),
        ("Connect call failed ('127.0.0.1', 5432)", ("db",)),
        ("[Errno 104] Connection reset by peer", ()),
        ("Connect call failed ('127.0.0.1', 54321)", ()),
        ("took 5432 ms", ()),
    ],
)
def test_names_and_addresses(text: str, found: tuple[str, ...]) -> None:
    ledger = Ledger()
    ledger.watch(0, [Proxied("db", "127.0.0.1", 5432)])
    assert ledger.named(text) == found
