"""The sidecar's end of the observers' streams.

One greenlet reads each worker's stream, one writes to it. What arrives goes to the
journal; perturbations go out to all workers, and the one that owns the connection
answers. Records and their meaning: ``seism_middleware.contract``.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
import os
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import gevent
from gevent.event import Event
from gevent.queue import SimpleQueue
from gevent.socket import socket as Socket

from seism.clock import Clock
from seism.journal import Journal, Missing, WorkerLeft
from seism.proxy.perturbation import Holds
from seism.sidecar.death import Watch
from seism.sidecar.ring import Ring
from seism_middleware import contract, wire
from seism_middleware.contract import (
    Attribution,
    Census,
    CensusAsked,
    Dropped,
    Goodbye,
    Harm,
    Hello,
    Hold,
    Looked,
    PerturbationBegan,
    PerturbationEnded,
    Proxied,
    Proxies,
    RequestBegun,
    RequestEnded,
    Welcome,
)
from seism_middleware.wire import ContractError

log = logging.getLogger(__name__)

MAX_OUTBOX = 50_000
"""Records a worker may leave unread before its stream is cut."""
MAX_RECENT = 4096
"""Records of perturbations kept for workers that are yet to join."""
RECENT = 10.0
"""Seconds for which they are kept."""


class Hub:
    """All workers' streams.

    ``published`` is called with each record after it is in the journal; ``proxied``
    gives the proxies that a worker must know.
    """

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        proxied: Callable[[], tuple[Proxied, ...]],
        published: Callable[[Any], None],
    ) -> None:
        self.workers: list[Worker] = []
        self.dropped = 0
        """Records of all workers that are known to be missing."""
        self.observed = 0
        """Requests whose observation arrived."""
        self.journal = journal
        self.clock = clock
        self.proxied = proxied
        self.published = published
        self.holds: Holds | None = None
        """Where workers ask to look before a toxic acts."""
        self.name = os.urandom(4).hex()
        """Tells a worker whether it talks to the same sidecar as before."""
        self._recent: deque[PerturbationBegan | PerturbationEnded] = deque(maxlen=MAX_RECENT)
        self._standing: dict[str, PerturbationBegan] = {}
        """Those of whole proxies, a proxy that is down say, that have not ended."""
        self._census = itertools.count(1)
        self._numbers: dict[str, int] = {}

    def serve(self, socket: Socket, initial: bytes = b"") -> None:
        """Serve one worker until its stream ends; blocks this greenlet. Closes ``socket``."""
        worker = Worker(self, socket)
        try:
            worker.run(initial)
        finally:
            socket.close()

    def publish(self, record: Any) -> None:
        """Send ``record`` to every worker, at once; never blocks."""
        if self.workers:
            line = wire.encode(record)
            for worker in self.workers:
                worker.send(line)

    def perturbed(self, record: PerturbationBegan | PerturbationEnded) -> None:
        """Send ``record`` to every worker, those included that join a little later.

        A worker's first requests reach the backends before its stream reaches the sidecar.
        """
        if isinstance(record, PerturbationEnded):
            self._standing.pop(record.perturbation, None)
        elif not record.client:
            self._standing[record.perturbation] = record
        self._recent.append(record)
        self.publish(record)

    def recent(self) -> Iterator[PerturbationBegan | PerturbationEnded]:
        """What a worker that joins now may have missed, oldest first."""
        since = self.clock.now() - RECENT
        yield from (record for record in list(self._standing.values()) if record.at < since)
        yield from (record for record in list(self._recent) if record.at >= since)

    def proxies_changed(self) -> None:
        """Tell every worker which proxies there are now."""
        self.publish(Proxies(self.proxied()))

    def take_census(self, timeout: float) -> int:
        """Ask every worker for its open connections; the number that answered in time."""
        asked = f"c{next(self._census)}"
        waiting = [worker.expect(asked) for worker in self.workers]
        self.publish(CensusAsked(asked))
        return len(gevent.wait(waiting, timeout=timeout))

    def record(self, record: Any, worker: str = "", number: int | None = None) -> None:
        """Journal one record and pass it on."""
        self.journal.write(record, worker, number)
        self.published(record)

    def missing(self, worker: str, count: int) -> None:
        self.dropped += count
        self.record(Missing(count), worker)

    def expected(self, worker: str, number: int | None) -> int:
        """How many records are missing before ``number``; remembers it, reconnects included."""
        if number is None:
            return 0
        last = self._numbers.get(worker, 0)
        self._numbers[worker] = max(last, number)
        return max(0, number - last - 1)

    def known(self, worker: str, number: int | None) -> bool:
        """Whether the record of this number has arrived before."""
        return number is not None and number <= self._numbers.get(worker, 0)


class Worker:
    """One worker's stream."""

    def __init__(self, hub: Hub, socket: Socket) -> None:
        self.hub = hub
        self.socket = socket
        self.name = ""
        self.pid = 0
        self.in_flight: dict[str, RequestBegun] = {}
        self.orderly = False
        self.watch: Watch | None = None
        """Of its process, where it is one of this host."""
        self._skew = 0.0
        self._outbox: SimpleQueue = SimpleQueue()
        self._censuses: dict[str, Event] = {}
        self._ring = _ring()

    def run(self, initial: bytes) -> None:
        """Read until the end of the stream, then settle what was left open."""
        writer = gevent.spawn(self._write)
        try:
            for line in self._lines(initial):
                record, number = wire.decode(line)
                if not self.name:
                    self._join(record, number)
                elif record is not None:
                    self._receive(record, number)
        except ContractError as error:
            log.warning("worker %s: %s; its stream is closed", self.name or "?", error)
        finally:
            writer.kill(block=False)
            if self.name:
                self._recover()
                self._leave()
            if self._ring is not None:
                self._ring.close()

    def send(self, line: bytes) -> None:
        """Queue one line; a worker that does not read is cut off."""
        if self._outbox.qsize() > MAX_OUTBOX:
            log.warning("worker %s does not read its stream; it is closed", self.name)
            self.socket.close()
            return
        self._outbox.put(line)

    def expect(self, census: str) -> Event:
        """An event that is set when the worker has answered ``census``, or has left."""
        return self._censuses.setdefault(census, Event())

    def _join(self, record: Any, number: int | None) -> None:
        if not isinstance(record, Hello):
            raise ContractError("a stream begins with hello")
        self.name, self.pid = record.worker, record.pid
        clock = self.hub.clock
        if record.clock.domain != clock.domain:
            # Another host or time namespace: as near as one message can tell.
            self._skew = clock.now() - record.clock.now
            log.warning("worker %s has a clock of its own, times are approximate", self.name)
        else:
            self.watch = Watch(self.pid)
        for what in record.blind:
            log.warning("worker %s: perturbations cannot be attributed through %s", self.name, what)
        missing = self.hub.expected(self.name, number)
        if missing:
            self.hub.missing(self.name, missing)
        self.hub.record(record, self.name, number)
        self.hub.workers.append(self)
        welcome = Welcome(
            contract.Clock(clock.domain, clock.now()),
            self.hub.proxied(),
            self._ring.path if self._ring else "",
            self._ring.key if self._ring else "",
            self.hub.name,
        )
        for each in (welcome, *self.hub.recent()):
            self.send(wire.encode(each))

    def _recover(self) -> None:
        """What the worker had written and could not send any more, as it was killed."""
        if self.orderly or self._ring is None:
            return
        try:
            for line in self._ring.lines():
                record, number = wire.decode(line)
                if record is not None and number is not None:
                    self._receive(record, number)
        except (ContractError, OSError) as error:
            log.warning("worker %s: its last records cannot be read: %s", self.name, error)

    def _receive(self, record: Any, number: int | None) -> None:
        if self.hub.known(self.name, number):
            return  # it was taken from the ring when an earlier stream broke
        missing = self.hub.expected(self.name, number)
        if missing and not isinstance(record, Dropped):
            self.hub.missing(self.name, missing)
        if isinstance(record, Dropped):
            self.hub.missing(self.name, max(missing, record.count))
            return
        if isinstance(record, Goodbye):
            self.orderly = True
            return
        record = self._on_our_clock(record)
        if isinstance(record, RequestBegun):
            self.in_flight[record.request] = record
        elif isinstance(record, RequestEnded):
            self.hub.observed += self.in_flight.pop(record.request, None) is not None
        elif isinstance(record, Hold | Looked):
            if self.hub.holds is not None:
                self._holds(record, self.hub.holds)
            return
        # A second hello: it patched more.
        elif not isinstance(record, Attribution | Harm | Census | Hello):
            raise ContractError(f"{record.kind} is not for a worker to say")
        self.hub.record(record, self.name, number)
        if isinstance(record, Census):
            self._censuses.pop(record.census, Event()).set()

    def _holds(self, record: Hold | Looked, holds: Holds) -> None:
        if isinstance(record, Hold):
            holds.ask(self, record.clients)
        else:
            holds.looked(self, record.perturbation)

    def _leave(self) -> None:
        reason = self._reason()
        if self in self.hub.workers:
            self.hub.workers.remove(self)
        if self.hub.holds is not None:
            self.hub.holds.forget(self)
        now = self.hub.clock.now()
        for begun in self.in_flight.values():
            # The worker said that it began and can no longer say how it ended.
            self.hub.record(
                RequestEnded(
                    request=begun.request,
                    method=begun.method,
                    route=begun.route,
                    began=begun.at,
                    duration=now - begun.at,
                    status=None,
                    body=contract.BODY_NONE,
                    client=begun.client,
                ),
                self.name,
            )
        self.hub.record(WorkerLeft(now, self.orderly, len(self.in_flight), reason), self.name)
        for event in self._censuses.values():
            event.set()

    def _reason(self) -> str:
        try:
            return "" if self.orderly or self.watch is None else self.watch.cause(gevent.sleep)
        except gevent.GreenletExit:
            return ""  # the sidecar ends, too: what is left to say is said at once

    def _on_our_clock(self, record: Any) -> Any:
        if not self._skew:
            return record
        field = "began" if isinstance(record, RequestEnded) else "at"
        if not hasattr(record, field):
            return record
        return dataclasses.replace(record, **{field: getattr(record, field) + self._skew})

    def _lines(self, initial: bytes) -> Iterator[bytes]:
        buffer = initial
        while True:
            *lines, buffer = buffer.split(b"\n")
            yield from lines
            if len(buffer) > wire.MAX_LINE:
                raise ContractError(f"a line of more than {wire.MAX_LINE} bytes")
            try:
                data = self.socket.recv(65536)
            except OSError:
                # A killed worker may leave a reset instead of an end of file; what it
                # had sent before has been read by then.
                return
            if not data:
                return
            buffer += data

    def _write(self) -> None:
        try:
            while True:
                lines = [self._outbox.get()]
                while not self._outbox.empty():
                    lines.append(self._outbox.get())
                self.socket.sendall(b"".join(lines))
        except OSError:
            return


def _ring() -> Ring | None:
    try:
        return Ring()
    except OSError as error:
        log.warning("no memory to share with a worker, which will send each record: %s", error)
        return None
