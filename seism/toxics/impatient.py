"""Replies are late, and a share of the load's clients leaves before theirs has come.

Incidents: redis-py 4121, where each cancelled request kept its connection; gunicorn's ASGI worker
3627, which left its transactions open. Users close a tab, a gateway's patience ends, and most ASGI
servers cancel the request wherever it is: while it waits for a connection, logs in, or reads a
reply. Under WSGI it runs on, and its answer goes nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from seism.options import option
from seism.toxics.base import HOUR_MS
from seism.toxics.late import Late


@dataclass(frozen=True, slots=True)
class Impatient(Late):
    """Delay replies as ``late`` does; the load of ``seism run`` and ``seism sweep`` leaves.

    A client leaves a little after its route's usual time, or at most ``delay`` later. The seed
    draws which ones, and when.
    """

    type: ClassVar[str] = "impatient"

    pause: int = option(
        50,
        help="time in which a connection's replies come at once, after a late one",
        unit="ms",
        minimum=0,
        maximum=HOUR_MS,
    )
    share: int = option(
        60, help="how many of the clients leave; the others wait", unit="%", minimum=1, maximum=100
    )
