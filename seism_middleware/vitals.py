"""What the worker's process uses: memory and CPU."""

from __future__ import annotations

import os
import sys
import threading
import time

SAMPLE_EVERY = 0.05
"""Seconds for which a sample of the resident set size is good."""
CPU_EVERY = 0.002
"""Seconds between requests whose CPU time is read, at least: reading it is a system call."""


class Vitals:
    """Samples of this process, taken at most every ``SAMPLE_EVERY`` seconds."""

    def __init__(self) -> None:
        self._page = os.sysconf("SC_PAGE_SIZE")
        self._sampled = float("-inf")
        self._cpu_sampled = float("-inf")
        self._rss: int | None = None
        self._cpu_at = (time.monotonic(), time.process_time())

    def due(self, now: float) -> bool:
        """Whether the last sample is too old at ``now`` (seconds, monotonic)."""
        return now - self._sampled >= SAMPLE_EVERY

    def cpu_due(self, now: float) -> bool:
        """Whether the CPU time of a request that begins at ``now`` is to be read."""
        if now - self._cpu_sampled < CPU_EVERY:
            return False
        self._cpu_sampled = now
        return True

    def rss(self, now: float) -> int | None:
        """Resident set size in bytes (proc(5), statm); None where there is no /proc."""
        if self.due(now):
            self._sampled = now
            try:
                with open("/proc/self/statm", encoding="ascii") as file:
                    self._rss = int(file.read().split()[1]) * self._page
            except (OSError, ValueError, IndexError):
                self._rss = None
        return self._rss

    def cpu_percent(self) -> float:
        """CPU time of the process since the last call, in percent of one processor."""
        then, used = self._cpu_at
        self._cpu_at = now, use = time.monotonic(), time.process_time()
        return 100 * (use - used) / (now - then) if now > then else 0.0


def thread_cpu() -> tuple[int, float | None]:
    """``(thread, its CPU seconds)``; None where greenlets share the thread."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None and monkey.is_module_patched("threading"):
        return 0, None
    return threading.get_ident(), time.thread_time()
