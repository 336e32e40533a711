"""The memory that the sidecar shares with one worker on its host.

The worker copies its lines there before it sends them; see ``Welcome.ring`` for the layout.
It is a memory file: it has no name, cannot shrink, and is gone with the last process that
has it.
"""

from __future__ import annotations

import fcntl
import logging
import os

from seism_middleware.wire import RING_COUNT, RING_HEAD

log = logging.getLogger(__name__)

SIZE = 256 * 1024
"""Bytes of lines that a ring holds: some 400 requests between two sends."""


class Ring:
    """The sidecar's end. Raises OSError where the host has no memory files."""

    def __init__(self, size: int = SIZE) -> None:
        self.key = os.urandom(8).hex()
        """What the worker must find in it: at the same path may be something else elsewhere."""
        self._size = size
        self._fd = os.memfd_create("seism-ring", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.posix_fallocate(self._fd, 0, RING_HEAD + size)
            os.pwrite(self._fd, self.key.encode(), RING_COUNT.size)
            fcntl.fcntl(self._fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
        except BaseException:
            os.close(self._fd)
            raise
        self.path = f"/proc/{os.getpid()}/fd/{self._fd}"

    def lines(self) -> list[bytes]:
        """The last lines that the worker wrote, oldest first, sent or not."""
        (written,) = RING_COUNT.unpack(os.pread(self._fd, RING_COUNT.size, 0))
        data = os.pread(self._fd, self._size, RING_HEAD)
        turn = written % self._size
        if written > self._size:
            data = data[turn:] + data[:turn]
            data = data[data.find(b"\n") + 1 :]  # the oldest one is torn, most likely
        else:
            data = data[:written]
        return data.splitlines()

    def close(self) -> None:
        """Let go of it; the worker's own mapping stays."""
        os.close(self._fd)
