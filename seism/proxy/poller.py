"""Which links can read: an epoll of their own, watched by the event loop as one descriptor.

The loop could watch each link by itself, but then each costs a watcher, each message a call
through it, and of those that are ready at the same time the last one goes first, which a
client sees as a longer p99. Here they take turns in the order in which they became ready.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Any

from seism.proxy.pump import COMPILED, streak

if TYPE_CHECKING:
    from seism.proxy.pump import PurePump

TURN = 32
"""Links that are served before the loop's other work comes: timers, accepting, control."""

_READ = 1


class PurePoller:
    """Calls each link's ``callback`` when its source is readable.

    Told late about a descriptor that was closed and is another link's by now, it calls that
    one, which finds nothing to read.
    """

    def __init__(self, loop: Any) -> None:
        self._epoll = select.epoll()
        self._links: dict[int, PurePump] = {}
        self._last = -1
        self._watcher = loop.io(self._epoll.fileno(), _READ)
        self._watcher.start(self._readable)

    def start(self, fd: int, link: PurePump) -> None:
        """Call ``link.callback`` whenever ``fd`` is readable."""
        self._epoll.register(fd, select.EPOLLIN)
        self._links[fd] = link

    def stop(self, fd: int) -> None:
        """Do not, for now."""
        if self._links.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def forget(self, fd: int) -> None:
        """Never again: the descriptor is about to be closed, which the kernel notices."""
        self._links.pop(fd, None)

    def close(self) -> None:
        self._watcher.stop()
        self._watcher.close()
        self._epoll.close()

    def _readable(self) -> None:
        links = self._links
        ready = self._epoll.poll(0, TURN)
        if len(ready) == 1 and ready[0][0] == self._last:
            streak.length += 1
        elif ready:
            self._last = ready[0][0]
            streak.length = 0
        for fd, _ in ready:
            link = links.get(fd)
            if link is not None:
                link.callback()
            else:
                self._lingering(fd)

    def _lingering(self, fd: int) -> None:
        """Forgotten, and not closed yet."""
        try:
            self._epoll.unregister(fd)
        except OSError:
            pass  # it is closed by now


if TYPE_CHECKING or not COMPILED:
    Poller = PurePoller
else:
    from seism.proxy._pump import Poller as Poller
