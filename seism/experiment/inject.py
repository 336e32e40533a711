"""``[app] inject`` and ``--redirect``: the observer, and the addresses of the proxies, are put into
the app through the environment alone.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
from collections.abc import Iterable, Iterator, MutableMapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from seism.errors import ConfigurationError
from seism.experiment.rewrite import Place
from seism.model import show_address
from seism_middleware.contract import INJECT_VARIABLE, REDIRECT_VARIABLE

PREFIX = "seism: inject: "
"""What a line in the app's log begins with that tells what is observed."""
WITH_VALUE = ("-W", "-X", "--check-hash-based-pycs")
"""Options of Python that take the next word."""
IGNORING = {"E": "the environment", "I": "the environment", "S": "sitecustomize"}
"""Options with which Python ignores what the injection needs (Python's manual, "Command line")."""

_PYTHON = re.compile(r"python(\d+(\.\d+)?)?t?")


def inject(environ: MutableMapping[str, str]) -> None:
    """Have the first Python that is started with ``environ`` observe its web app."""
    spec = find_spec("seism_middleware.inject")
    assert spec is not None and spec.origin is not None
    environ[INJECT_VARIABLE] = "1"
    first_on_path(environ, str(Path(spec.origin).parent))


def redirect(environ: MutableMapping[str, str], there: Iterable[Place]) -> dict[str, str]:
    """Have each Python that is started with ``environ`` connect to proxies instead of backends.

    The result is each ``host:port`` of a backend -> that of its proxy.
    """
    where = {
        show_address(host, place.port): place.proxy
        for place in there
        for host in sorted(_all_names(place))
    }
    where = {key.replace("[", "").replace("]", ""): proxy for key, proxy in where.items()}
    spec = find_spec("seism_middleware.redirect")
    assert spec is not None and spec.origin is not None
    environ[REDIRECT_VARIABLE] = json.dumps(where)
    first_on_path(environ, str(Path(spec.origin).parent))
    return where


def _all_names(place: Place) -> set[str]:
    """The names of a backend's host, and the addresses that they stand for now."""
    names = {host.lower() for host in place.hosts}
    try:
        found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    except OSError:
        found = []
    return names | {str(info[4][0]) for info in found}


def first_on_path(environ: MutableMapping[str, str], folder: str) -> None:
    """Put ``folder`` first on ``PYTHONPATH``."""
    environ["PYTHONPATH"] = os.pathsep.join(filter(None, (folder, environ.get("PYTHONPATH", ""))))


def said(log: Iterable[str]) -> list[str]:
    """What the injection says in the app's ``log``, each once, without the processes' numbers."""
    lines = [line.removeprefix(PREFIX) for line in log if line.startswith(PREFIX)]
    return list(dict.fromkeys(re.sub(r",? process \d+,?", "", line) for line in lines))


def told(log: Iterable[str]) -> str:
    """Why nothing is observed, as far as it is known."""
    lines = said(log)
    if lines:
        return f" ({'; '.join(lines)})"
    return (
        " (no Python with one of the known servers was started, or one that was told to ignore "
        "its environment)"
    )


def check(command: Sequence[str], file: str, where: str) -> None:
    """Raises ConfigurationError if Python would ignore the injection.

    ``file`` is the program that the first word of ``command`` names; a script's first line counts.
    """
    for option in _options([*_interpreter(file, command[0]), *command[1:]]):
        ignored = IGNORING.get(option)
        if ignored:
            raise ConfigurationError(
                f"{where}: Python's -{option} ignores {ignored}, which inject needs: leave out "
                f"-{option}, or wrap the app by one line and leave out inject"
            )


def _interpreter(file: str, word: str) -> list[str]:
    """The words that start a script: its ``#!`` line; ``word`` itself otherwise."""
    try:
        with open(file, "rb") as script:
            first = script.readline(512)
    except OSError:
        return [word]
    if not first.startswith(b"#!"):
        return [word]
    words = shlex.split(first[2:].decode(errors="replace"))
    return [*words, file]


def _options(words: Sequence[str]) -> Iterator[str]:
    """The one-letter options of the Python in a command; of nothing else."""
    rest = list(words)
    if rest and Path(rest[0]).name == "env":
        rest.pop(0)
        while rest and (rest[0].startswith("-") or "=" in rest[0]):
            rest.pop(0)
    if not rest or not _PYTHON.fullmatch(Path(rest[0]).name):
        return
    rest.pop(0)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word in WITH_VALUE:
            rest[:1] = []
        elif not word.startswith("--"):
            for letter in word[1:]:
                if letter in "cm":
                    return
                if letter in "WX":
                    break
                yield letter
