"""Where an exception came from: files, lines and functions, never values."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Any

from seism_middleware.contract import ELSEWHERE, LIBRARIES, is_own_frame
from seism_middleware.own_code import packages

MOST = 8
"""Frames kept of a traceback."""
MOST_OWN = 4
"""Of them, frames of the app's own code: a library may put any number of its own below."""
LONGEST = 100
"""Characters kept of a file's path, its end."""
OURS = os.path.dirname(__file__) + os.sep
STANDARD = os.path.dirname(os.__file__) + os.sep
"""Where Python's own library is."""


def frames(traceback: TracebackType | None) -> tuple[str, ...]:
    """``app/views.py:41 checkout`` of each frame, outermost first, without the middleware's.

    Of a deep one, the first, the innermost of the app's own and the innermost of all are kept.
    """
    found: list[str] = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if not code.co_filename.startswith(OURS):
            found.append(frame(code.co_filename, traceback.tb_lineno, code.co_name))
        traceback = traceback.tb_next
    if len(found) <= MOST:
        return tuple(found)
    own = [index for index in range(1, len(found)) if is_own_frame(found[index])][-MOST_OWN:]
    rest = [index for index in range(1, len(found)) if index not in own]
    kept = {0, *own, *rest[len(rest) - (MOST - 1 - len(own)) :]}
    return tuple(each for index, each in enumerate(found) if index in kept)


def frame(path: str, line: int, function: str) -> str:
    """One of them; see ``shown``."""
    return f"{shown(path)}:{line} {function}"


def shown(path: str) -> str:
    """``path`` from the app's folder, or from that of the libraries (``site-packages/...``).

    A package of the app's own is shown as if its parent were the app's folder, wherever it is.
    What is in none of these keeps its last two parts: where things are on the machine is nobody's
    business.
    """
    if path.startswith("<"):
        return path[:LONGEST]  # code that was generated, by a library as a rule
    parts = path.replace(os.sep, "/").split("/")
    for name in LIBRARIES:
        if name in parts:
            place = len(parts) - 1 - parts[::-1].index(name)
            if "".join(parts[place + 1 : place + 2]).removesuffix(".py") in packages():
                place += 1
            return "/".join(parts[place:])[-LONGEST:]
    try:
        folder = os.getcwd() + os.sep
    except OSError:
        folder = ""
    if folder and path.startswith(folder):
        return path[len(folder) :].replace(os.sep, "/")[-LONGEST:]
    if os.path.isabs(path):
        own = [place for place, part in enumerate(parts[:-1]) if part in packages()]
        if own and not path.startswith(STANDARD):
            return "/".join(parts[own[-1] :])[-LONGEST:]
        return "/".join([ELSEWHERE, *parts[-2:]])[-LONGEST:]
    return path[-LONGEST:]


def type_name(error: type[Any]) -> str:
    """The dotted name of an exception's type, built-ins without their module."""
    module = error.__module__
    return error.__qualname__ if module == "builtins" else f"{module}.{error.__qualname__}"
