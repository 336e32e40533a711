"""Which sockets the threads of this process are blocked on, as the kernel tells.

``/proc/self/task/*/syscall`` (see proc(5)) has the system call that each thread is in,
``/proc/self/mem`` what ``poll`` was asked for. A thread may go on at any moment, so whoever
concludes something from a look has to look again.
"""

from __future__ import annotations

import os
import platform
import struct
import sys
import threading
from collections.abc import Iterator
from types import FrameType

from seism_middleware.handle import close_file, open_file, read
from seism_middleware.native import original

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
_MOST_SELECTED = 1024


def readable() -> bool:
    """Whether this process may look at itself: not after a ``setuid`` without an ``exec``."""
    if platform.machine() not in _NUMBERS:
        return False
    try:
        system_call(os.getpid())
        close_file(open_file("/proc/self/mem"))
    except OSError:
        return False
    return True


def threads() -> set[int]:
    """The kernel's ids of Python's threads; gevent forgets it of the main thread in a fork."""
    known = (thread.native_id for thread in list(_active().values()))
    return {number for number in known if number is not None} | {os.getpid()}


def blocked_on(fd: int) -> list[int]:
    """Those of them that are blocked on ``fd``."""
    found = []
    for number in threads():
        try:
            words = system_call(number)
            if fd in waited_for(words) and system_call(number) == words:
                found.append(number)
        except OSError:
            continue  # the thread has ended
    return found


def system_call(thread: int) -> str:
    """What the thread is in, as the kernel puts it. Raises OSError once it has ended."""
    file = open_file(f"/proc/self/task/{thread}/syscall")
    try:
        return read(file, 256).decode("ascii")
    finally:
        close_file(file)


def waited_for(words: str) -> Iterator[int]:
    """The descriptors that a system call is about. Raises OSError if it is over by now."""
    number, *rest = words.split()
    if not number.isdigit() or len(rest) < 6:
        return  # running
    arguments = [int(word, 16) for word in rest[:6]]
    plain, polls, selects = _NUMBERS[platform.machine()]
    if int(number) in plain:
        yield arguments[0]
    elif int(number) in polls:
        data = _memory(arguments[0], min(arguments[1], _MOST_POLLED) * _POLLFD.size)
        yield from (polled for polled, _, _ in _POLLFD.iter_unpack(data))
    elif int(number) in selects:
        count = min(arguments[0], _MOST_SELECTED)
        sets = [_memory(at, (count + 7) // 8) for at in arguments[1:3] if at]
        yield from (fd for fd in range(count) if any(bits[fd // 8] >> fd % 8 & 1 for bits in sets))


def frame_of(thread: int) -> FrameType | None:
    """What the kernel's thread executes, None if that is not known."""
    frames = sys._current_frames()
    others = {original("_thread", "get_ident")()}
    for known in list(_active().values()):
        if known.native_id == thread and known.ident in frames:
            return frames[known.ident]
        others.add(known.ident)
    if thread == os.getpid():
        mains = [frame for ident, frame in frames.items() if ident not in others]
        if len(mains) == 1:
            return mains[0]
    return None


def _active() -> dict[int, threading.Thread]:
    return threading._active  # type: ignore[attr-defined,no-any-return]


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
