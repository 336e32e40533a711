"""The guard: a tiny process between the runner and one child, which leaves nothing behind.

    python -I -S guard.py OPTIONS-AS-JSON COMMAND [ARGUMENT ...]

It starts the command in a session of its own and makes itself the subreaper of all
that comes of it, so that a descendant which forks twice or starts a session is still
found below it. It ends everything below it when its life line closes (the runner
ended it, or was killed) and when it gets SIGTERM, SIGINT or SIGHUP. Its own exit is
the command's: same code, same signal. A command that ends with code 0 and leaves
descendants has become a daemon: the guard stays until they have ended too.

Run by path and without site-packages: stdlib only, and no import of seism.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
from types import FrameType
from typing import Any

PR_SET_CHILD_SUBREAPER = 36
"""prctl(2)."""
CANNOT_START = 127
"""Exit code where the command could not be executed, as shells have it."""
POLL_S = 0.02
KILL_S = 5.0
"""How long the kernel may take to bury what was killed."""


def descendants(root: int) -> list[int]:
    """The pids of all processes below ``root``, as /proc shows them now."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", "rb") as file:
                    parent = int(file.read().rpartition(b")")[2].split()[1])
            except (OSError, IndexError):
                continue
            children.setdefault(parent, []).append(int(entry))
    found: list[int] = []
    queue = [root]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return found


def send(pid: int, number: int) -> None:
    """Signal ``pid``; one that is gone or not ours to signal is left alone."""
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        pass


class Guard:
    """One command and everything below it.

    ``stop`` is the signal that asks the command to end, ``grace_s`` how long it and
    then what it leaves may take before they are killed.
    """

    def __init__(self, pid: int, stop: int, grace_s: float) -> None:
        self._pid = pid
        self._stop = stop
        self._grace_s = grace_s
        self._status: int | None = None

    def watch(self, life: int, wake: int) -> int:
        """Wait for the command's end or for an order to end it; returns its wait status."""
        poller = select.poll()
        poller.register(life, select.POLLIN)
        poller.register(wake, select.POLLIN)
        alive = self._reap()
        while alive:
            ready = dict(poller.poll())
            alive = self._reap()
            ordered = life in ready
            if wake in ready:
                ordered |= any(byte != signal.SIGCHLD for byte in os.read(wake, 512))
            if ordered:
                self._end()
                break
            if self._status:
                self._sweep()
                break
        return signal.SIGKILL if self._status is None else self._status

    def _reap(self) -> bool:
        """Bury what has ended; false when nothing at all is left below."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self._pid:
                self._status = status

    def _end(self) -> None:
        if self._status is None:
            send(self._pid, self._stop)
            deadline = time.monotonic() + self._grace_s
            while self._reap() and self._status is None and time.monotonic() < deadline:
                time.sleep(POLL_S)
        self._sweep()

    def _sweep(self) -> None:
        """End what the command leaves, or did not end itself; kill it after the grace period."""
        if self._status is not None:
            for pid in descendants(os.getpid()):
                send(pid, signal.SIGTERM)
            deadline = time.monotonic() + self._grace_s
            while self._reap() and time.monotonic() < deadline:
                time.sleep(POLL_S)
        deadline = time.monotonic() + KILL_S
        while self._reap() and time.monotonic() < deadline:
            for pid in descendants(os.getpid()):
                send(pid, signal.SIGKILL)
            time.sleep(POLL_S)


def _wake(number: int, frame: FrameType | None) -> None:
    """The number arrives through the wake-up descriptor."""


def _let_go_of_stdio() -> None:
    """The command's pipes must end when the command does."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)


def _exit_as(status: int) -> None:
    if os.WIFSIGNALED(status):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        number = os.WTERMSIG(status)
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status))


def main(arguments: list[str]) -> None:
    """Options: ``life`` (descriptor), ``stop`` (signal number), ``grace_s``, ``user`` and ``group``
    (or null), ``scratch`` (a folder to make, and to remove in the end; or null).
    """
    options: dict[str, Any] = json.loads(arguments[0])
    life, user = options["life"], options["user"]
    os.set_inheritable(life, False)
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    wake, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _wake)
    scratch = options["scratch"]
    try:
        if scratch is not None:
            os.mkdir(scratch, 0o700)
        child = subprocess.Popen(
            arguments[1:],
            start_new_session=True,
            user=user,
            group=options["group"],
            extra_groups=None if user is None else [],
        )
    except OSError as error:
        os.write(2, f"{arguments[1]}: {error.strerror}\n".encode())
        os._exit(CANNOT_START)
    _let_go_of_stdio()
    status = Guard(child.pid, options["stop"], options["grace_s"]).watch(life, wake)
    if scratch is not None:
        import shutil  # slow, and seldom needed

        shutil.rmtree(scratch, ignore_errors=True)
    _exit_as(status)


if __name__ == "__main__":
    main(sys.argv[1:])
