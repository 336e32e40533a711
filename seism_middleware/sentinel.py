"""Marks that an app plants where its backend gives them back, to see wrong data for certain.

    from seism_middleware import sentinel

    mark = sentinel.plant()
    row = connection.execute("SELECT %s, name FROM items WHERE id = %s", (mark, id)).fetchone()
    sentinel.check(row[0])

A mark names the running request. One that comes back to another request is reported as wrong
data, however the reply came to it: through any client, with or without a perturbation. Plant
marks only in what is answered at once (an echo, a literal, a key that is the request's own),
never in what is stored for others to read. Without an observer nothing is planted, and
nothing is reported.
"""

from __future__ import annotations

import re

from seism_middleware.contract import Harm
from seism_middleware.harm import SENTINEL
from seism_middleware.observer import observing
from seism_middleware.traffic import current

__all__ = ["check", "plant"]

_MARK = re.compile(rb"seism-mark\.([0-9a-f]{8}-\d{1,12})\.")


def plant(text: str = "") -> str:
    """``text`` and the running request's mark after it, in letters, digits, ``.`` and ``-``."""
    request = current.get()
    return text if request is None else f"{text}seism-mark.{request.id}."


def check(value: str | bytes) -> bool:
    """Whether all marks in ``value`` are the running request's; those that are not are reported.

    True as well where there is none: what is missing is no proof.
    """
    request = current.get()
    if request is None or request.over is not None:
        return True
    data = value.encode(errors="replace") if isinstance(value, str) else bytes(value)
    own = True
    for mark in dict.fromkeys(_MARK.findall(data)):
        if (other := mark.decode()) != request.id:
            own = False
            found = Harm(SENTINEL, request.id, True, other=other)
            for observer in observing(request):
                observer.harmed(found)
    return own
