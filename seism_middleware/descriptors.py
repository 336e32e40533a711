"""This process's connections that were opened from C, past every patch.

The kernel lists them (proc(5), /proc/self/fd); looking at each costs a few microseconds, so
it is done when a census is taken and at no other time.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Collection, Iterator
from typing import Any

FOLDER = "/proc/self/fd"


def strangers(
    known: Collection[int], backend_of: Callable[[Any], str | None]
) -> Iterator[tuple[str, Any]]:
    """``(backend, local address)`` of each connection to a proxy whose descriptor is not ``known``.

    Nothing where there is no /proc.
    """
    try:
        descriptors = [int(name) for name in os.listdir(FOLDER)]
    except OSError:
        return
    for fd in descriptors:
        if fd not in known:
            try:
                if not os.readlink(f"{FOLDER}/{fd}").startswith("socket:"):
                    continue
                with socket.socket(fileno=os.dup(fd)) as twin:
                    backend = backend_of(twin.getpeername())
                    local = twin.getsockname()
            except OSError:
                continue  # closed meanwhile, or not connected
            if backend is not None:
                yield backend, local
