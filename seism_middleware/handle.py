"""Sockets that a C library has opened: looked at by their descriptors, never closed.

The library may close a descriptor at any moment, and the next one who opens something gets
the same number. So a socket is known by its cookie as well, a number that the kernel gives to
no other one, or by its local address where the kernel has no cookies.

All of this asks libc by ``ctypes.PyDLL``, which keeps the interpreter's lock: none of these
calls can block, and a look at a hundred sockets must not wait a hundred times until the busy
threads of the app give the lock back.
"""

from __future__ import annotations

import _thread
import ctypes
import socket
from collections.abc import Iterator
from functools import cache
from typing import Any

_ROOM = 128
"""Bytes of a struct sockaddr_storage."""
_ANSWER = 256
"""Bytes of the longest option that is asked for."""
_SO_COOKIE = 57
"""Since Linux 4.12 (asm-generic/socket.h); 8 bytes."""
_NAME = 19
"""Where a struct dirent has its name (readdir(3), Linux)."""


@cache
def libc() -> Any:
    """The C library, made when it is first asked for."""
    library = ctypes.PyDLL(None)
    library.opendir.restype = library.readdir.restype = ctypes.c_void_p
    library.readdir.argtypes = library.closedir.argtypes = [ctypes.c_void_p]
    pointer = ctypes.c_void_p
    library.getsockopt.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int, pointer, pointer]
    library.pread.restype = ctypes.c_ssize_t
    library.pread.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_longlong]
    return library


class _Answer(_thread._local):
    """Where a thread has what it asks for written: nothing is allocated for a question."""

    def __init__(self) -> None:
        self.getsockopt = libc().getsockopt
        self.room = ctypes.create_string_buffer(_ANSWER)
        self.size = ctypes.c_uint32()
        self.where = ctypes.addressof(self.room), ctypes.addressof(self.size)


@cache
def _answers() -> _Answer:
    return _Answer()


def _option(fd: int, level: int, name: int, size: int) -> bytes:
    """Up to ``size`` bytes of a socket's option. Raises OSError."""
    answer = _answers()
    answer.size.value = size
    if answer.getsockopt(fd, level, name, *answer.where):
        raise OSError("it is no socket")
    return ctypes.string_at(answer.where[0], answer.size.value)


def _cookie(fd: int) -> bytes | None:
    """What no other socket ever has; None where the kernel has none. Raises OSError."""
    try:
        return _option(fd, socket.SOL_SOCKET, _SO_COOKIE, 8)
    except OSError:
        _option(fd, socket.SOL_SOCKET, socket.SO_TYPE, 4)
        return None


def _address(function: Any, fd: int) -> tuple[str, int]:
    room, size = ctypes.create_string_buffer(_ROOM), ctypes.c_uint32(_ROOM)
    if function(fd, room, ctypes.byref(size)):
        raise OSError("it is no socket, or not connected")
    data = room.raw
    family = int.from_bytes(data[:2], "little" if data[1] == 0 else "big")
    port = int.from_bytes(data[2:4], "big")
    if family == socket.AF_INET:
        return socket.inet_ntop(family, data[4:8]), port
    if family == socket.AF_INET6:
        return socket.inet_ntop(family, data[8:24]), port
    raise OSError("it is no socket of the Internet")


class Handle:
    """One socket of somebody else; what the ledger asks of a socket can be asked of it."""

    __slots__ = ("__weakref__", "_cookie", "_fd", "_local")

    def __init__(self, fd: int) -> None:
        """Raises OSError if ``fd`` is no socket of the Internet."""
        self._fd = fd
        self._cookie = _cookie(fd)
        self._local = self.getsockname()

    def fileno(self) -> int:
        """The descriptor, -1 once it is another socket's or nobody's."""
        try:
            if self._cookie is None:
                return self._fd if self.getsockname() == self._local else -1
            same = _option(self._fd, socket.SOL_SOCKET, _SO_COOKIE, 8) == self._cookie
            return self._fd if same else -1
        except OSError:
            return -1

    def getsockname(self) -> tuple[str, int]:
        return _address(libc().getsockname, self._fd)

    def getpeername(self) -> tuple[str, int]:
        return _address(libc().getpeername, self._fd)

    def getsockopt(self, level: int, name: int, size: int) -> bytes:
        return _option(self._fd, level, name, size)


def connected() -> Iterator[tuple[Handle, tuple[str, int]]]:
    """Every socket of this process that has a peer, and the peer's address."""
    for fd in _descriptors():
        try:
            peer = _address(libc().getpeername, fd)
            yield Handle(fd), peer
        except OSError:
            continue


def _descriptors() -> list[int]:
    folder = libc().opendir(b"/proc/self/fd")
    if not folder:
        return []
    found = []
    while entry := libc().readdir(folder):
        name = ctypes.string_at(entry + _NAME)
        if name.isdigit():
            found.append(int(name))
    libc().closedir(folder)
    return found


def read(fd: int, size: int, offset: int = 0) -> bytes:
    """Up to ``size`` bytes of the file. Raises OSError."""
    room = ctypes.create_string_buffer(size)
    got = libc().pread(fd, room, size, offset)
    if got < 0:
        raise OSError("it cannot be read")
    return room.raw[:got]


def open_file(path: str) -> int:
    """A descriptor, to be read only. Raises OSError."""
    fd = int(libc().open(path.encode(), 0o2000000))  # O_CLOEXEC
    if fd < 0:
        raise OSError(f"{path} cannot be opened")
    return fd


def close_file(fd: int) -> None:
    libc().close(fd)
