"""The worker's end of the memory that it shares with a sidecar on its host.

A line that is copied there outlives the process, SIGKILL included, at a hundredth of what a
send costs. The stream's thread then sends many lines at once; what it could not send any
more the sidecar reads from the memory when the worker has gone (``Welcome.ring``).
"""

from __future__ import annotations

import fcntl
import mmap
import os
import re
import stat

from seism_middleware.wire import RING_COUNT, RING_HEAD

_PATH = re.compile(r"/proc/\d+/fd/\d+")
MAX_SIZE = 16 * 1024 * 1024
"""Bytes of the largest memory that is mapped: all of it is this process's once it is written."""


class Ring:
    """Lines that are on their way; the caller holds a lock."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory
        self.size = len(memory) - RING_HEAD
        """Bytes that it holds at most."""
        self._written = 0
        self._sent = 0
        self._free_to = 0
        """Bytes before this one are of lines that were sent as a whole."""

    def put(self, line: bytes) -> int:
        """Keep ``line``; the bytes that are kept then, 0 if there is no room for it."""
        start, size = self._written, self.size
        end = start + len(line)
        kept = end - self._free_to
        if kept > size:
            return 0
        at = RING_HEAD + start % size
        room = RING_HEAD + size - at
        if len(line) <= room:
            self._memory[at : at + len(line)] = line
        else:
            self._memory[at:] = line[:room]
            self._memory[RING_HEAD : RING_HEAD + len(line) - room] = line[room:]
        self._written = end
        # Last, and as one word: to whoever reads after our death the line is there or is not.
        RING_COUNT.pack_into(self._memory, 0, end)
        return kept

    @property
    def waiting(self) -> bool:
        """Whether there is something to be sent."""
        return self._sent < self._written

    def pending(self) -> bytes:
        """What is to be sent next; not always all of it."""
        at = self._sent % self.size
        end = min(at + self._written - self._sent, self.size)
        return self._memory[RING_HEAD + at : RING_HEAD + end]

    def sent(self, data: bytes) -> None:
        """``data``, the beginning of what is pending, was sent."""
        newline = data.rfind(b"\n")
        if newline >= 0:
            self._free_to = self._sent + newline + 1
        self._sent += len(data)

    def rest(self) -> list[bytes]:
        """The lines of which not all was sent."""
        self._sent = self._free_to
        data = b""
        while self.waiting:
            more = self.pending()
            data += more
            self._sent += len(more)
        return data.splitlines(keepends=True)


def _is_lasting(fd: int) -> bool:
    """Whether what is mapped of the file stays there, whoever else has it.

    A page that is gone, as its file has shrunk or its pool is empty, ends the process that
    writes to it (SIGBUS, mmap(2)). A memory file with ``F_SEAL_SHRINK`` can never shrink
    (fcntl(2), File Sealing); one of huge pages, whose blocks are larger, can still lack pages.
    """
    seals: int = fcntl.fcntl(fd, fcntl.F_GET_SEALS)  # OSError for every other kind of file
    return bool(seals & fcntl.F_SEAL_SHRINK) and os.fstatvfs(fd).f_bsize == mmap.PAGESIZE


def open_ring(path: str, key: str) -> Ring | None:
    """The ring at ``path`` if it is the one that holds ``key``, and cannot be taken away.

    None otherwise, on another host for example: then records take the stream.
    """
    if not _PATH.fullmatch(path):
        return None  # opening a device, say, is an act of its own
    try:
        # Whatever is at that path here must not hold us up.
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or not RING_HEAD < status.st_size <= MAX_SIZE:
            return None
        if not _is_lasting(fd):
            return None
        found = os.pread(fd, RING_HEAD - RING_COUNT.size, RING_COUNT.size)
        if not key or found.rstrip(b"\0") != key.encode():
            return None
        return Ring(mmap.mmap(fd, status.st_size, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE))
    except (OSError, ValueError):
        return None
    finally:
        os.close(fd)
