"""Threads, locks and sockets as the standard library made them, whatever gevent has patched.

The stream to the sidecar must go on while a driver written in C blocks gevent's hub, and with
it every greenlet: it runs in a thread of its own, where gevent's own things have no place. What
that thread shares with greenlets is locked for moments only, in which none of them can switch.
"""

from __future__ import annotations

import _thread
import importlib
import sys
import threading
from collections.abc import Callable
from typing import Any


def original(module: str, name: str) -> Any:
    """``module.name`` as it was before gevent patched it, if it did."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None:
        return monkey.get_original(module, name)
    return getattr(importlib.import_module(module), name)


def lock() -> Any:
    """A lock between threads."""
    return original("_thread", "allocate_lock")()


rlock = _thread.RLock
"""A reentrant lock between threads; gevent leaves this one alone."""


def start(run: Callable[[], None], name: str) -> Callable[[float], object]:
    """Run ``run`` in a daemon thread; how to wait for its end, for so many seconds at most."""
    if original("threading", "Lock") is threading.Lock:
        thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()
        return thread.join
    running = lock()
    running.acquire()

    def work() -> None:
        try:
            run()
        finally:
            running.release()

    original("_thread", "start_new_thread")(work, ())
    return lambda seconds: running.acquire(timeout=seconds) and running.release()


def connect(host: bytes, port: int, seconds: float) -> Any:
    """A socket that is connected. Raises OSError."""
    make, getaddrinfo = original("socket", "socket"), original("socket", "getaddrinfo")
    failed: OSError = OSError("no address")
    for family, kind, protocol, _, address in getaddrinfo(host, port, 0, 1):
        sock = make(family, kind, protocol)
        try:
            sock.settimeout(seconds)
            sock.connect(address)
            return sock
        except OSError as error:
            sock.close()
            failed = error
    raise failed
