"""Through a proxy whose fault never matches, client and server say what they say without it.

Both sides of the proxy are recorded; no byte may be another one, and none may be missing.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
from collections.abc import Callable, Iterator

import pytest

from seism.model import ToxicSpec
from tests import native
from tests.protocols.record import Sessions, recorded
from tests.protocols.transparent import assert_transparent

PROTOCOLS = ("http", "http_nginx", "memcached", "ldap", "smtp")
"""Whose recorded sessions there are, by the names of their modules."""
MARKS = {
    "http_nginx": [pytest.mark.debian("nginx-light")],
    "memcached": [pytest.mark.debian("memcached")],
    "ldap": [pytest.mark.debian("slapd", "libldap2-dev", "libsasl2-dev")],
}
EVERY = [
    pytest.param(
        protocol, sample.name, id=f"{protocol}-{sample.name}", marks=MARKS.get(protocol, ())
    )
    for protocol in PROTOCOLS
    for sample in recorded(protocol)
]


@pytest.fixture(scope="module")
def server() -> Iterator[Callable[[str], tuple[int, Sessions]]]:
    """The port of a running server of a protocol, and what clients do there."""
    with contextlib.ExitStack() as stack:

        @functools.cache
        def running(protocol: str) -> tuple[int, Sessions]:
            if protocol == "ldap":
                native.module("ldap")
            module = importlib.import_module(f"tests.protocols.sessions.{protocol}")
            return stack.enter_context(module.server()), module.SESSIONS

        yield running


@pytest.mark.parametrize(("protocol", "name"), EVERY)
def test_a_fault_that_never_matches_alters_nothing(
    server: Callable[[str], tuple[int, Sessions]], protocol: str, name: str
) -> None:
    port, sessions = server(protocol)
    never = ToxicSpec("exchange_close", exchange={"kind": "never"})
    one = sessions[name]
    codec = protocol.partition("_")[0]
    assert_transparent(port, codec, never, one.run, ways=0, opaque=one.opaque)
