"""The file of a listening Unix socket: made private, removed again, never somebody else's."""

from __future__ import annotations

import _socket
import errno
import os
import socket
import stat
from dataclasses import dataclass

MODE = 0o600
"""Who may connect: connecting needs the right to write (unix(7))."""


@dataclass(frozen=True, slots=True)
class SocketFile:
    """A file that ``bind`` made."""

    path: str
    _device: int
    _inode: int

    @classmethod
    def bind(cls, sock: _socket.socket, path: str) -> SocketFile:
        """Bind ``sock``, and take over a file that a dead server has left behind.

        Raises OSError, EADDRINUSE for a file that is no socket or has somebody listening.
        """
        # Linux makes the file with the mode of the unbound socket: it is never open to others.
        os.fchmod(sock.fileno(), MODE)
        try:
            sock.bind(path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not _is_stale(path):
                raise
            os.unlink(path)
            sock.bind(path)
        status = os.lstat(path)
        return cls(path, status.st_dev, status.st_ino)

    def remove(self) -> None:
        """Unlink it, unless another file has its name by now."""
        try:
            status = os.lstat(self.path)
            if (status.st_dev, status.st_ino) == (self._device, self._inode):
                os.unlink(self.path)
        except OSError:
            pass  # somebody else was faster, or has taken the folder away


def _is_stale(path: str) -> bool:
    """Whether it is a socket that nobody listens on."""
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        return False
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        return probe.connect_ex(path) == errno.ECONNREFUSED
