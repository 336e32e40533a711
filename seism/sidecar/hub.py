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
from seism.model import FRONT
from seism.proxy.perturbation import Holds
from seism.proxy.slices import Turns, rest
from seism.sidecar.death import Watch
from seism.sidecar.ring import Ring
from seism_middleware import contract, wire
from seism_middleware.contract import (
    Attribution,
    BackgroundEnded,
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

SLICE = 16 * 1024
"""Bytes of a worker that are taken in before the event loop turns: some 10 ms of the shortest
records."""
MAX_WORKERS = 512
"""Streams, whose half lines are kept."""
MAX_RINGS = 256
"""Workers that share memory with us, 256 KiB each; the others send each record."""
HELLO_SECONDS = 10.0
"""How long a stream may take to begin."""
MAX_NAME = 200
"""Characters of a worker's name."""
MAX_NAMES = 4096
"""Names of workers whose numbers are kept for a reconnect."""
LIST_ROOM = wire.MAX_LINE - 1024
"""Bytes of a line for a list of proxies; a ``Welcome`` has more to say than that."""
MAX_OUTBOX = 4 * 1024 * 1024
"""Bytes of records a worker may leave unread before its stream is cut."""
MAX_IN_FLIGHT, MAX_ALL_IN_FLIGHT = 8 * 1024 * 1024, 48 * 1024 * 1024
"""Bytes of requests that have begun and not ended, of one worker and of all; the oldest is
given up then, and counted as missing."""
BEGUN_COST = 400
"""Bytes that one of them takes beside its line."""
FUTURE = 60.0
"""Seconds by which a worker's times may be ahead of ours."""
LEFT_SLICE = 50
"""Records of a worker that has left that are settled before the event loop turns."""
DISK_POLL = 0.01
"""Seconds between two looks at a journal that is behind; its workers wait meanwhile."""
MAX_RECENT = 4096
"""Records of perturbations kept for workers that are yet to join."""
RECENT = 10.0
"""Seconds for which they are kept."""


class Hub:
    """All workers' streams.

    ``published`` is called with each record, and the size of its line, after it is in the
    journal; ``proxied``
    gives the proxies that a worker must know.
    """

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        proxied: Callable[[], tuple[Proxied, ...]],
        published: Callable[[Any, int], None],
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
        """The last one of each worker, by its name; the oldest first."""
        self._keys: dict[str, str] = {FRONT: os.urandom(8).hex()}
        self._streams = 0
        self.rings = 0
        """Workers that have one."""
        self._listed: tuple[tuple[Proxied, ...], list[tuple[Proxied, ...]]] = ((), [()])
        """The proxies, and the same in parts that each fit a line."""
        self.turns = Turns()
        """Of the workers, for what they send."""
        self.in_flight = 0
        """Bytes of all workers' requests that have begun and not ended."""

    def serve(self, socket: Socket, initial: bytes = b"") -> None:
        """Serve one worker until its stream ends; blocks this greenlet. Closes ``socket``."""
        worker = Worker(self, socket)
        try:
            if self._streams >= MAX_WORKERS:
                log.warning("a worker is turned away: there are %d already", MAX_WORKERS)
                return
            self._streams += 1
            try:
                worker.run(initial)
            finally:
                self._streams -= 1
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
        for worker in self.workers:
            worker.tell_proxies()

    def proxies_in_parts(self) -> list[tuple[Proxied, ...]]:
        """All proxies that a worker must know, in parts that each fit a line; one at least."""
        proxies = self.proxied()
        if proxies != self._listed[0]:
            self._listed = proxies, list(_parts(proxies))
        return self._listed[1]

    def take_census(self, timeout: float) -> int:
        """Ask every worker for its open connections; the number that answered in time."""
        asked = f"c{next(self._census)}"
        waiting = [worker.expect(asked) for worker in self.workers]
        self.publish(CensusAsked(asked))
        return len(gevent.wait(waiting, timeout=timeout))

    def record(
        self, record: Any, worker: str = "", number: int | None = None, size: int = 0
    ) -> None:
        """Journal one record, of a line of ``size`` bytes, and pass it on."""
        self.journal.write(record, worker, number, size)
        self.published(record, size)

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

    def name_of(self, hello: Hello) -> str:
        """What the worker that says ``hello`` is called here.

        Its name, unless somebody with another key has it: whoever takes another worker's
        name can neither go on with its numbers nor be taken for it.
        """
        here = {worker.name for worker in self.workers}
        name, count = hello.worker, 1
        while self._keys.get(name, hello.key) != hello.key or (not hello.key and name in here):
            count += 1
            name = f"{hello.worker}~{count}"
        self._keys[name] = hello.key
        self._numbers.setdefault(name, 0)
        if len(self._numbers) > MAX_NAMES:
            # The one that has been known longest, of those that are not here.
            gone = next(each for each in self._numbers if each not in here and each != name)
            del self._numbers[gone], self._keys[gone]
        return name

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
        self._sizes: dict[str, int] = {}
        """Bytes of each of them, as they are counted."""
        self._size = 0
        self._given_up = 0
        """Of those, how many since the last slice."""
        self.orderly = False
        self.watch: Watch | None = None
        """Of its process, where it is one of this host."""
        self._skew = 0.0
        self._outbox: SimpleQueue = SimpleQueue()
        self._unread = 0
        """Bytes in it."""
        self._telling = False
        """The proxies are to be told, where the outbox has a None."""
        self._censuses: dict[str, Event] = {}
        self._ring: Ring | None = None
        self._hurried = False
        """The sidecar ends: what is left to say is said at once."""

    def run(self, initial: bytes) -> None:
        """Read until the end of the stream, then settle what was left open."""
        self.socket.settimeout(HELLO_SECONDS)
        writer = gevent.spawn(self._write)
        try:
            for lines in self._slices(initial):
                with self.hub.turns:
                    self._take(lines)
                    rest()
                while self.hub.journal.behind:
                    gevent.sleep(DISK_POLL)
        except ContractError as error:
            log.warning("worker %s: %s; its stream is closed", self.name or "?", error)
        finally:
            writer.kill(block=False)
            if self.name:
                self._recover()
                self._leave()
            if self._ring is not None:
                self._ring.close()
                self.hub.rings -= 1

    def send(self, line: bytes) -> None:
        """Queue one line; a worker that does not read is cut off."""
        if self._unread + len(line) > MAX_OUTBOX:
            log.warning("worker %s does not read its stream; it is closed", self.name)
            self.socket.close()
            return
        self._unread += len(line)
        self._outbox.put(line)

    def tell_proxies(self) -> None:
        """Queue the list of proxies, as it will be when the worker has read what is before it.

        It is queued once, however often it changes.
        """
        if not self._telling:
            self._telling = True
            self._outbox.put(None)

    def expect(self, census: str) -> Event:
        """An event that is set when the worker has answered ``census``, or has left."""
        return self._censuses.setdefault(census, Event())

    def _join(self, record: Any, number: int | None) -> None:
        if not isinstance(record, Hello):
            raise ContractError("a stream begins with hello")
        if not 0 < len(record.worker) <= MAX_NAME:
            raise ContractError(f"Hello.worker: expected 1 to {MAX_NAME} characters")
        self.name, self.pid = self.hub.name_of(record), record.pid
        if self.name != record.worker:
            log.warning("another worker is called %s: this one is %s", record.worker, self.name)
        record = dataclasses.replace(record, worker=self.name, key="")
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
        self.socket.settimeout(None)
        if self.hub.rings < MAX_RINGS:
            self._ring = _ring()
            self.hub.rings += self._ring is not None
        parts = self.hub.proxies_in_parts()
        later = len(parts) > 1
        welcome = Welcome(
            contract.Clock(clock.domain, clock.now()),
            () if later else parts[0],
            self._ring.path if self._ring else "",
            self._ring.key if self._ring else "",
            self.hub.name,
            more=later,
        )
        self.send(wire.encode(welcome))
        if later:
            self.tell_proxies()
        for each in self.hub.recent():
            self.send(wire.encode(each))

    def _recover(self) -> None:
        """What the worker had written and could not send any more, as it was killed."""
        if self.orderly or self._ring is None:
            return
        try:
            for count, line in enumerate(self._ring.lines(), 1):
                if count % LEFT_SLICE == 0:
                    self._breathe()
                record, number = wire.decode(line)
                if record is not None and number is not None:
                    self._receive(record, number, len(line))
        except (ContractError, OSError) as error:
            log.warning("worker %s: its last records cannot be read: %s", self.name, error)

    def _take(self, lines: list[bytes]) -> None:
        """Each of the lines, in one piece."""
        for line in lines:
            record, number = wire.decode(line)
            if not self.name:
                self._join(record, number)
            elif record is not None:
                self._receive(record, number, len(line))
        if self._given_up:
            given_up, self._given_up = self._given_up, 0
            log.warning("worker %s: too many requests that do not end", self.name)
            self.hub.missing(self.name, given_up)

    def _receive(self, record: Any, number: int | None, size: int) -> None:
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
        self._check_times(record)
        if isinstance(record, RequestBegun):
            self._begin(record, size + BEGUN_COST)
        elif isinstance(record, RequestEnded):
            self.hub.observed += self._end(record.request) is not None
        elif isinstance(record, Hold | Looked):
            if self.hub.holds is not None:
                self._holds(record, self.hub.holds)
            return
        elif isinstance(record, Hello):
            # A second one: it patched more.
            record = dataclasses.replace(record, worker=self.name, key="")
        elif not isinstance(record, Attribution | Harm | BackgroundEnded | Census):
            raise ContractError(f"{record.kind} is not for a worker to say")
        self.hub.record(record, self.name, number, size)
        if isinstance(record, Census):
            self._censuses.pop(record.census, Event()).set()

    def _begin(self, begun: RequestBegun, size: int) -> None:
        self._end(begun.request)
        self.in_flight[begun.request], self._sizes[begun.request] = begun, size
        self._size += size
        self.hub.in_flight += size
        while self._size > MAX_IN_FLIGHT or (
            self.in_flight and self.hub.in_flight > MAX_ALL_IN_FLIGHT
        ):
            self._end(next(iter(self.in_flight)))
            self._given_up += 1

    def _end(self, request: str) -> RequestBegun | None:
        begun = self.in_flight.pop(request, None)
        if begun is not None:
            size = self._sizes.pop(request)
            self._size -= size
            self.hub.in_flight -= size
        return begun

    def _check_times(self, record: Any) -> None:
        """Raises ContractError for a time that is not over yet."""
        at = record.began + record.duration if isinstance(record, RequestEnded) else None
        at = getattr(record, "at", 0.0) if at is None else at
        if at > self.hub.clock.now() + FUTURE:
            raise ContractError(f"{record.kind}: its time is {at:g}, which is yet to come")

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
        left = list(self.in_flight.values())
        for count, begun in enumerate(left, 1):
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
            self._end(begun.request)
            if count % LEFT_SLICE == 0:
                self._breathe()
        self.hub.record(WorkerLeft(now, self.orderly, len(left), reason), self.name)
        for event in self._censuses.values():
            event.set()

    def _reason(self) -> str:
        if self.orderly or self.watch is None or self._hurried:
            return ""
        try:
            return self.watch.cause(gevent.sleep)
        except gevent.GreenletExit:
            self._hurried = True
            return ""

    def _breathe(self) -> None:
        """Let the event loop turn, unless the sidecar ends."""
        if not self._hurried:
            try:
                rest()
            except gevent.GreenletExit:
                self._hurried = True

    def _on_our_clock(self, record: Any) -> Any:
        if not self._skew:
            return record
        field = "began" if isinstance(record, RequestEnded) else "at"
        if not hasattr(record, field):
            return record
        return dataclasses.replace(record, **{field: getattr(record, field) + self._skew})

    def _slices(self, initial: bytes) -> Iterator[list[bytes]]:
        """The whole lines of what has come, again and again."""
        buffer = bytearray(initial)
        begun = 0
        """Bytes in it that have no line's end."""
        while True:
            end = buffer.rfind(b"\n", begun) + 1
            if end:
                lines = bytes(buffer[: end - 1]).split(b"\n")
                del buffer[:end]
                yield lines
            begun = len(buffer)
            if begun > wire.MAX_LINE:
                raise ContractError(f"a line of more than {wire.MAX_LINE} bytes")
            try:
                data = self.socket.recv(SLICE)
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
                self._unread -= sum(len(line) for line in lines if line is not None)
                self.socket.sendall(b"".join(map(self._line, lines)))
                rest()
        except OSError:
            return

    def _line(self, line: bytes | None) -> bytes:
        if line is not None:
            return line
        self._telling = False
        return b"".join(map(wire.encode, _listing(self.hub.proxies_in_parts())))


def _parts(proxies: tuple[Proxied, ...]) -> Iterator[tuple[Proxied, ...]]:
    """All of them, in parts that each fit a line."""
    part: list[Proxied] = []
    size = 0
    for proxied in proxies:
        own = len(wire.encode(Proxies((proxied,))))
        if part and size + own > LIST_ROOM:
            yield tuple(part)
            part, size = [], 0
        part.append(proxied)
        size += own
    yield tuple(part)


def _listing(parts: list[tuple[Proxied, ...]]) -> Iterator[Proxies]:
    """One record for each part of the list; all but the last say that more follow."""
    for number, part in enumerate(parts, 1):
        yield Proxies(part, more=number < len(parts))


def _ring() -> Ring | None:
    try:
        return Ring()
    except OSError as error:
        log.warning("no memory to share with a worker, which will send each record: %s", error)
        return None
