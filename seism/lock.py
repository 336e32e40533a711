"""One process at a time writes a file, or into a folder; the kernel ends that with the process."""

from __future__ import annotations

import fcntl
import os


class Held(Exception):
    """Another process holds it; says which, as far as that can be known."""


def hold(fd: int) -> None:
    """Hold the file or folder of ``fd`` until it is closed. Raises Held, and OSError."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = _holder(fd)
        raise Held(f"process {pid}" if pid else "another process") from None


def _holder(fd: int) -> int:
    """The process that holds it, 0 if that is not known, as in another container."""
    inode = os.fstat(fd).st_ino
    try:
        with open("/proc/locks", encoding="ascii") as file:
            for line in file:
                words = line.split()
                if words[1] == "FLOCK" and words[5].rpartition(":")[2] == str(inode):
                    return max(0, int(words[4]))
    except (OSError, ValueError, IndexError):
        pass
    return 0
