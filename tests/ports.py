"""Ports for servers that cannot pick one themselves."""

from __future__ import annotations

import random
import socket
from pathlib import Path

LOWEST = 20_000
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
TRIES = 1000

# Not the generator that pytest-randomly seeds: two processes would pick the same ports.
_CHANCE = random.SystemRandom()


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on.

    It is below the range from which the kernel serves port 0 and outgoing connections, so none of
    those takes it before it is used. Raises OSError if there is none.
    """
    below = int(EPHEMERAL.read_text(encoding="ascii").split()[0])
    for _ in range(TRIES):
        port = _CHANCE.randrange(min(LOWEST, below - 1), below)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError(f"no free port from {LOWEST} to {below - 1}")
