"""One settable alarm on the event loop.

The loop's own timers go by epoll's milliseconds: about 1 ms late at 50 ms. A timerfd
is a descriptor that becomes readable on time; Linux has it, Python from 3.13.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from typing import Any, Protocol

_READ = 1
_CLOCK_MONOTONIC = 1
_AT_ONCE = 1e-9  # a timerfd that is set to 0 is switched off


class Alarm(Protocol):
    """Rings once per ``set``; a later ``set`` replaces an earlier one."""

    def set(self, delay: float) -> None: ...

    def close(self) -> None: ...


def alarm(loop: Any, ring: Callable[[], None]) -> Alarm:
    """The most precise alarm that this system has."""
    if sys.platform == "linux":
        try:
            return TimerfdAlarm(loop, ring)
        except OSError:
            pass
    return LoopAlarm(loop, ring)


class LoopAlarm:
    """The loop's own timer."""

    def __init__(self, loop: Any, ring: Callable[[], None]) -> None:
        self._loop = loop
        self._ring = ring
        self._timer: Any = None

    def set(self, delay: float) -> None:
        self.close()
        self._timer = self._loop.timer(delay)
        self._timer.start(self._ring, update=True)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer.close()
            self._timer = None


class TimerfdAlarm:
    """A timerfd(2), watched by the loop."""

    def __init__(self, loop: Any, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._fd, self._set_time = _timerfd()
        # What is due goes before what has just come in.
        self._watcher = loop.io(self._fd, _READ, priority=loop.MAXPRI)
        self._watcher.start(self._readable)

    def set(self, delay: float) -> None:
        self._set_time(max(delay, _AT_ONCE))

    def close(self) -> None:
        if self._fd >= 0:
            self._watcher.stop()
            self._watcher.close()
            os.close(self._fd)
            self._fd = -1

    def _readable(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return  # it was set anew after it had expired
        self._ring()


class _Timespec(ctypes.Structure):
    _fields_ = [("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long)]


class _Itimerspec(ctypes.Structure):
    _fields_ = [("it_interval", _Timespec), ("it_value", _Timespec)]


def _timerfd() -> tuple[int, Callable[[float], None]]:
    """A timerfd and the function that sets it. Raises OSError where there is none."""
    if sys.version_info >= (3, 13):
        fd = os.timerfd_create(_CLOCK_MONOTONIC, flags=os.TFD_NONBLOCK | os.TFD_CLOEXEC)

        def set_time(delay: float) -> None:
            os.timerfd_settime(fd, initial=delay)

        return fd, set_time
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        create, settime = libc.timerfd_create, libc.timerfd_settime
    except AttributeError:
        raise OSError("the C library has no timerfd") from None
    fd = create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "timerfd_create")
    spec = _Itimerspec()
    pointer = ctypes.byref(spec)

    def set_time_by_ctypes(delay: float) -> None:
        seconds = int(delay)
        spec.it_value.tv_sec = seconds
        spec.it_value.tv_nsec = max(1, int((delay - seconds) * 1e9))
        if settime(fd, 0, pointer, None) < 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime")

    return fd, set_time_by_ctypes
