"""Evidence of the kernel: which thread is blocked on a socket while the proxy holds its bytes.

For sockets of C libraries that no driver's patch follows (``seism_middleware.blocked``). The
thread's request is found in its frames, by those of ours that show it (``shown``).

A look is exact only within the time for which the proxy keeps the bytes back: later, the
request may have its reply and another one may be in its place.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from seism_middleware.blocked import blocked_on, frame_of, readable
from seism_middleware.contract import KERNEL
from seism_middleware.evidence.base import Case, Finding, Found, Sources
from seism_middleware.ledger import Ledger
from seism_middleware.shown import values
from seism_middleware.traffic import Request


def request_of(thread: int) -> Request | None:
    """The request that the kernel's thread works for, None if that is not known."""
    for shown in values(frame_of(thread)):
        found = shown if isinstance(shown, Request) else getattr(shown, "request", None)
        if isinstance(found, Request) and found.over is None:
            return found
    return None


class KernelEvidence:
    """Knows of sockets of this process that lead to a proxy and that the ledger does not know.

    ``ask`` is called with their local addresses: the proxy is to hold what it perturbs on
    them from now on. Where nothing is imported that could own such a socket, nobody looks.
    """

    def __init__(
        self, ledger: Ledger, expected: Callable[[], bool], ask: Callable[[list[str]], None]
    ) -> None:
        self._ledger = ledger
        self._expected = expected
        self._ask = ask

    def first(self, case: Case) -> Finding | None:
        began = case.began
        if case.connection is not None or not began.client or not self._expected():
            return None
        found = [h for h, local, _ in self._ledger.unowned() if local == began.client]
        case.owned = bool(found) or self._ledger.had(began.client)
        if not found:
            return None  # of another process, or closed before we came to look
        threads = blocked_on(found[0].fileno()) if readable() else []
        waiting = map(request_of, threads)
        requests = {each: None for each in waiting if each is not None and each.in_flight(began.at)}
        in_time = began.hold > 0 and time.monotonic() < began.at + began.hold
        if not requests:
            return None
        exact = in_time and len(threads) == len(requests) == 1
        return Finding(KERNEL, tuple(Found(request, exact) for request in requests))

    def further(self, case: Case) -> Finding | None:
        return None

    def ask(self) -> None:
        """Have the proxy hold what it perturbs on the connections that are still unknown."""
        unknown = [local for _, local, _ in self._ledger.unowned()]
        if unknown and readable():
            self._ask(unknown)


def evidence(sources: Sources) -> KernelEvidence:
    """The kind ``kernel``."""
    return KernelEvidence(sources.ledger, sources.blind, sources.hold)
