"""Evidence of the kernel: which thread is blocked on a socket while the proxy holds its bytes.

For sockets of C libraries that no driver's patch follows. ``/proc/self/task/*/syscall`` (see
proc(5)) tells the system call that each thread is in, ``/proc/self/mem`` what ``poll`` was
asked for; both are read again, as a thread may have gone on meanwhile. The thread's request is
found in its frames, where the middleware's own are.

A look is exact only within the time for which the proxy keeps the bytes back: later, the
request may have its reply and another one may be in its place.
"""

from __future__ import annotations

import os
import platform
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from seism_middleware.contract import KERNEL
from seism_middleware.evidence.base import Case, Finding, Found
from seism_middleware.handle import close_file, open_file, read
from seism_middleware.ledger import Ledger
from seism_middleware.native import original
from seism_middleware.request import Request

# Linux's system calls (asm/unistd.h): those whose first argument is the descriptor, ``poll``
# and ``ppoll`` with an array of struct pollfd, ``select`` and ``pselect6`` with bitmaps.
_NUMBERS: dict[str, tuple[frozenset[int], frozenset[int], frozenset[int]]] = {
    "x86_64": (
        frozenset({0, 1, 19, 20, 42, 44, 45, 46, 47}),
        frozenset({7, 271}),
        frozenset({23, 270}),
    ),
    "aarch64": (
        frozenset({63, 64, 65, 66, 203, 206, 207, 211, 212}),
        frozenset({73}),
        frozenset({72}),
    ),
}
_POLLFD = struct.Struct("@ihh")
_MOST_POLLED = 64


def readable() -> bool:
    """Whether this process may look at itself: not after a ``setuid`` without an ``exec``."""
    if platform.machine() not in _NUMBERS:
        return False
    try:
        _call_of(os.getpid())
        close_file(open_file("/proc/self/mem"))
    except OSError:
        return False
    return True


def blocked_on(fd: int) -> list[int]:
    """The kernel's ids of Python's threads that are blocked on ``fd``."""
    found = []
    known = {thread.native_id for thread in list(_active().values())}
    for number in known | {os.getpid()}:  # gevent forgets it of the main thread in a fork
        try:
            words = _call_of(number)
            if _waits_for(words, fd) and _call_of(number) == words:
                found.append(int(number or 0))
        except OSError:
            continue  # the thread has ended
    return found


def _active() -> dict[int, threading.Thread]:
    return threading._active  # type: ignore[attr-defined,no-any-return]


def _call_of(thread: int | None) -> str:
    file = open_file(f"/proc/self/task/{thread}/syscall")
    try:
        return read(file, 256).decode("ascii")
    finally:
        close_file(file)


def _waits_for(words: str, fd: int) -> bool:
    number, *rest = words.split()
    if not number.isdigit() or len(rest) < 6:
        return False  # running
    arguments = [int(word, 16) for word in rest[:6]]
    plain, polls, selects = _NUMBERS[platform.machine()]
    if int(number) in plain:
        return arguments[0] == fd
    if int(number) in polls:
        count = min(arguments[1], _MOST_POLLED)
        data = _memory(arguments[0], count * _POLLFD.size)
        return any(polled == fd for polled, _, _ in _POLLFD.iter_unpack(data))
    if int(number) in selects and fd < arguments[0]:
        byte, bit = divmod(fd, 8)
        return any(_memory(at + byte, 1)[0] >> bit & 1 for at in arguments[1:3] if at)
    return False


def _memory(address: int, size: int) -> bytes:
    """Of this process; OSError, not a crash, for what is not mapped any more."""
    if not size:
        return b""
    memory = open_file("/proc/self/mem")
    try:
        data = read(memory, size, address)
    finally:
        close_file(memory)
    if len(data) < size:
        raise OSError("not mapped")
    return data


def request_of(thread: int) -> Request | None:
    """The request that the kernel's thread works for, None if that is not known."""
    frames = sys._current_frames()
    others = {original("_thread", "get_ident")()}
    for known in list(_active().values()):
        if known.native_id == thread and known.ident in frames:
            return _in_frames(frames[known.ident])
        others.add(known.ident)
    if thread == os.getpid():
        mains = [frame for ident, frame in frames.items() if ident not in others]
        if len(mains) == 1:
            return _in_frames(mains[0])
    return None


def _in_frames(frame: FrameType | None) -> Request | None:
    """What the innermost frame of the middleware in the stack works for."""
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith("seism_middleware."):
            for found in _candidates(frame):
                if isinstance(found, Request) and found.over is None:
                    return found
        frame = frame.f_back
    return None


def _candidates(frame: FrameType) -> Iterator[Any]:
    here = frame.f_locals
    yield here.get("request")
    for name in ("self", "span"):
        yield getattr(here.get(name), "request", None)


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
        if not found:
            return None  # of another process
        case.owned = True
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
