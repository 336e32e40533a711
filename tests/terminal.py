"""A program on a real pseudo-terminal, and what a person sees of it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pyte

from tests.processes import ROOT


class Terminal:
    """Its screen, as a terminal shows what has been written."""

    def __init__(self, master: int, child: subprocess.Popen[bytes], columns: int, rows: int):
        self._master = master
        self.child = child
        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = b""

    def press(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def look(self, seconds: float = 0.1) -> list[str]:
        """The lines, after what was written within ``seconds``."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if not select.select([self._master], [], [], left)[0]:
                break
            try:
                data = os.read(self._master, 65536)
            except OSError:  # nobody has it open any more
                break
            if not data:
                break
            self.raw += data
            self._stream.feed(data)
        return list(self.screen.display)

    def until(self, text: str, seconds: float = 20) -> str:
        """The first line that has ``text``, once there is one."""
        end = time.monotonic() + seconds
        while True:
            lines = self.look()
            for line in lines:
                if text in line:
                    return line
            assert time.monotonic() < end, f"{text!r} is not in:\n" + "\n".join(lines)

    def line(self, start: str) -> str:
        """The line that begins with ``start`` now."""
        return next((line for line in self.screen.display if line.startswith(start)), "")

    def colours(self, character: str) -> set[str]:
        """The colours in which ``character`` is shown anywhere."""
        return {
            cell.fg
            for row in self.screen.buffer.values()
            for cell in row.values()
            if cell.data == character
        }


@contextmanager
def terminal(*argv: str, columns: int = 120, rows: int = 40, **env: str) -> Iterator[Terminal]:
    """The program runs until the block ends."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    inherited = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS", "LINES")}
    child = subprocess.Popen(
        argv,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={
            **inherited, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color",
            "PYTHONUTF8": "1", **env,
        },
        start_new_session=True,
    )  # fmt: skip
    os.close(slave)
    try:
        yield Terminal(master, child, columns, rows)
    finally:
        if child.poll() is None:
            child.terminate()
        child.wait(10)
        os.close(master)
