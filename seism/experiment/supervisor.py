"""The supervisor: starts the children of a run and reaps them all, whatever happens."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from seism.errors import ConfigurationError
from seism.experiment import guard

TAIL_BYTES = 64 * 1024
LAST_LINES, LINE_LIMIT = 3, 200
"""Lines of a log that are kept where its process ends, and characters of each."""
NODE, NODE_FRAME = "Node.js v", re.compile(r"\s+at |\s*\^+$")
"""How Node ends its log: with its version, after the frames of the error."""
MARGIN_S = 5.0
"""What a guard may take beyond its own limits before it is killed itself."""


@dataclass(slots=True)
class Child:
    """One supervised command, seen through its guard."""

    name: str
    log: Path
    process: subprocess.Popen[bytes]
    """The guard; its exit is the command's."""
    life: int
    """Our end of the guard's life line, -1 when closed."""
    grace_s: float

    @property
    def stdin(self) -> IO[bytes]:
        """The command's standard input; only where it was spawned with ``pipes``."""
        assert self.process.stdin is not None
        return self.process.stdin

    @property
    def stdout(self) -> IO[bytes]:
        """The command's standard output; only where it was spawned with ``pipes``."""
        assert self.process.stdout is not None
        return self.process.stdout

    def code(self) -> int | None:
        """None while it runs; else its exit code, or minus the signal that ended it."""
        return self.process.poll()


def last_lines(log: Sequence[str]) -> list[str]:
    """The last lines of a ``log`` that say something; of an error of Node, not its frames."""
    lines = [line for line in log if line.strip()]
    if any(line.startswith(NODE) for line in lines[-LAST_LINES:]):
        lines = [line for line in lines if not (line.startswith(NODE) or NODE_FRAME.match(line))]
    return [line[:LINE_LIMIT] for line in lines[-LAST_LINES:]]


def _private(path: str, flags: int) -> int:
    """Opens a log, which may hold what the app says of its users, for its owner alone."""
    return os.open(path, flags, 0o600)


class Supervisor:
    """A context manager; on leaving it, nothing that it started runs any more.

    The same holds if this process is killed: each guard then ends its command.
    Children are ended in the reverse order of their start.
    """

    def __init__(self) -> None:
        self._children: dict[str, Child] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def spawn(
        self,
        name: str,
        argv: Sequence[str],
        *,
        log: Path,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        pipes: bool = False,
        stop: signal.Signals = signal.SIGTERM,
        grace_s: float = 5.0,
        user: int | None = None,
        group: int | None = None,
        scratch: Path | None = None,
    ) -> Child:
        """Start ``argv`` under a guard; its output is appended to ``log``.

        A bare command name is looked up beside the running interpreter first, then on
        ``PATH``. ``env`` is the whole environment, by default ours. With ``pipes``
        standard input and output are the caller's, and only standard error is logged.
        ``stop`` is the signal that asks it to end. ``user`` and ``group`` (numeric ids)
        are for a caller that is root and a command that must not be. ``scratch`` is a
        private folder, made for the command and removed after it, even if we are killed.
        Raises ConfigurationError, in one line, for a command that cannot be found.
        """
        environment = dict(os.environ if env is None else env)
        command = find_command(argv[0], cwd, environment)
        theirs, ours = os.pipe()
        options = {
            "life": theirs,
            "stop": stop,
            "grace_s": grace_s,
            "user": user,
            "group": group,
            "scratch": str(scratch) if scratch else None,
        }
        guarded = [sys.executable, "-I", "-S", guard.__file__, json.dumps(options), command]
        try:
            with open(log, "ab", opener=_private) as output:
                process = subprocess.Popen(
                    [*guarded, *argv[1:]],
                    stdin=subprocess.PIPE if pipes else subprocess.DEVNULL,
                    stdout=subprocess.PIPE if pipes else output,
                    stderr=output,
                    cwd=cwd,
                    env=environment,
                    pass_fds=(theirs,),
                    start_new_session=True,
                )
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        child = self._children[name] = Child(name, log, process, ours, grace_s)
        return child

    def pid(self, name: str) -> int:
        """The pid of the guard of the child ``name``; all of the child is below it."""
        return self._children[name].process.pid

    def exited(self) -> tuple[str, int] | None:
        """Name and exit code of a child that has ended by itself, None if all run."""
        for child in self._children.values():
            code = child.code()
            if code is not None and child.life >= 0:
                return child.name, code
        return None

    def ended(self) -> dict[str, int]:
        """Exit codes of all children that have ended by themselves."""
        codes = {child.name: child.code() for child in self._children.values() if child.life >= 0}
        return {name: code for name, code in codes.items() if code is not None}

    def tail(self, name: str, lines: int = 10) -> list[str]:
        """The last lines that the child ``name`` wrote to its log."""
        with open(self._children[name].log, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            return file.read().decode(errors="replace").splitlines()[-lines:]

    def log(self, name: str) -> Iterator[str]:
        """All lines that the child ``name`` has written to its log so far."""
        with open(self._children[name].log, encoding="utf-8", errors="replace") as file:
            for line in file:
                yield line.rstrip("\n")

    def terminate(self, name: str) -> int:
        """End the child ``name`` with all its descendants; returns its exit code."""
        child = self._children[name]
        if child.life >= 0:
            os.close(child.life)
            child.life = -1
        if child.process.stdin is not None:
            try:
                child.process.stdin.close()
            except BrokenPipeError:
                pass
        try:
            child.process.wait(2 * child.grace_s + guard.KILL_S + MARGIN_S)
        except subprocess.TimeoutExpired:
            for pid in [child.process.pid, *guard.descendants(child.process.pid)]:
                guard.send(pid, signal.SIGKILL)
            child.process.wait()
        if child.process.stdout is not None:
            child.process.stdout.close()
        return child.process.returncode

    def close(self) -> None:
        """End every child, the last started first."""
        for name in reversed(self._children):
            self.terminate(name)


def find_command(command: str, cwd: Path | None, env: Mapping[str, str]) -> str:
    """The file that ``command`` names; raises ConfigurationError if there is none.

    A name without a slash is looked up in the virtual environments on the ``PATH`` of ``env``, as
    one that is active is the app's; then beside the running interpreter, then on the rest of the
    ``PATH``. A relative path starts at ``cwd``.
    """
    if "/" in command:
        path = Path(cwd or Path.cwd(), command)
        if path.is_file() and os.access(path, os.X_OK):
            return str(path)
    else:
        folders = env.get("PATH", os.defpath).split(os.pathsep)
        active = [each for each in folders if Path(each, os.pardir, "pyvenv.cfg").is_file()]
        order = [*active, os.path.dirname(sys.executable), *folders]
        found = shutil.which(command, path=os.pathsep.join(order))
        if found:
            return found
    raise ConfigurationError(f"the command {command!r} was not found, or is not executable")
