"""The recent records, for readers that come and go.

One ring per topic, so that a flood of observations never pushes a perturbation out. A
reader keeps nothing but its place, so it costs no memory however slow it is; what has left
a ring before the reader came to it is counted and said.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from gevent.event import Event

from seism.journal import TOPICS
from seism_middleware import wire

SIZE = 4096
"""Records kept per topic."""
BYTES = 4 * 1024 * 1024
"""Bytes of JSON kept per topic, at most."""
COST = 500
"""Bytes that a record takes beside its line."""
BATCH_BYTES = 256 * 1024
"""Bytes of JSON in one batch, but for its first record."""


class Kept:
    """A record, and its JSON once somebody has asked for it: many readers want the same."""

    __slots__ = ("_json", "record", "size")

    def __init__(self, record: Any, size: int) -> None:
        self.record = record
        self.size = size
        """About the bytes of its JSON."""
        self._json: str | None = None

    @property
    def json(self) -> str:
        """One line; the object of the journal, without what the journal adds."""
        if self._json is None:
            self._json = json.dumps(wire.to_dict(self.record), separators=(",", ":"))
        return self._json


Places = tuple[int, ...]
"""How many records of each topic, in the order of TOPICS, a reader is past."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What a reader gets next: records in their order, each with the place after it."""

    records: tuple[tuple[Kept, Places], ...]
    missed: dict[str, int]
    """By topic, how many left the ring unread; topics without any are left out."""
    places: Places
    """Where the reader is after ``missed``, before ``records``."""


class Feed:
    """Records by topic; lives on one event loop. ``run`` names this life of the sidecar."""

    def __init__(self, run: str, size: int = SIZE) -> None:
        self.run = run
        self.closed = False
        self.published = 0
        self.missed = 0
        """Records that readers were told they had missed."""
        self._size = size
        self._rings = {topic: _Ring(size) for topic in TOPICS}
        self._ring_of = {
            kind: self._rings[topic] for topic, kinds in TOPICS.items() for kind in kinds
        }
        self._wakes: set[Event] = set()

    @property
    def readers(self) -> int:
        """How many there are now."""
        return len(self._wakes)

    def publish(self, record: Any, size: int = 0) -> None:
        """Keep ``record`` if it has a topic, and wake the readers. Never waits.

        ``size``: bytes of the line that it was made of; 0 for one of our own.
        """
        ring = self._ring_of.get(record.kind)
        if ring is None:
            return
        self.published += 1
        ring.append(self.published, Kept(record, COST + size))
        for wake in self._wakes:
            wake.set()

    def attend(self) -> Event:
        """An event that is set whenever something was published; give it to ``leave``."""
        wake = Event()
        self._wakes.add(wake)
        return wake

    def leave(self, wake: Event) -> None:
        self._wakes.discard(wake)

    def close(self) -> None:
        """Nothing more will be published: readers end once they have read what is kept."""
        self.closed = True
        for wake in self._wakes:
            wake.set()

    def end(self) -> Places:
        """The place after all that was published."""
        return tuple(ring.count for ring in self._rings.values())

    def start(self) -> Places:
        """The place before all that is kept."""
        return tuple(ring.first for ring in self._rings.values())

    def earlier(self, topics: Iterable[str]) -> dict[str, int]:
        """By topic, how many records nobody can have any more; topics without any are left out."""
        gone = {topic: self._rings[topic].first for topic in sorted(topics)}
        return {topic: count for topic, count in gone.items() if count}

    def after(self, places: Places, topics: Iterable[str], limit: int) -> Batch:
        """The next records, at most ``limit``, of ``topics`` for a reader at ``places``."""
        now = list(places)
        wanted = set(topics)
        missed: dict[str, int] = {}
        found: list[tuple[int, int, Kept]] = []
        for index, (topic, ring) in enumerate(self._rings.items()):
            if topic not in wanted:
                now[index] = ring.count
                continue
            if now[index] < ring.first:
                missed[topic] = ring.first - now[index]
                now[index] = ring.first
            found += [(n, index, kept) for n, kept in ring.after(now[index], limit)]
        self.missed += sum(missed.values())
        begin = tuple(now)
        records: list[tuple[Kept, Places]] = []
        size = 0
        for _, index, kept in sorted(found, key=lambda each: each[0])[:limit]:
            size += kept.size
            if records and size > BATCH_BYTES:
                break
            now[index] += 1
            records.append((kept, tuple(now)))
        return Batch(tuple(records), missed, begin)

    def name(self, places: Places) -> str:
        """An event id: what a reader sends back to go on from ``places``."""
        return "-".join((self.run, *map(str, places)))

    def find(self, name: str) -> Places | None:
        """The place that ``name`` is, None if it is none of this run's."""
        run, *numbers = name.split("-")
        if run != self.run or len(numbers) != len(self._rings):
            return None
        if not all(number.isascii() and number.isdigit() for number in numbers):
            return None
        places = tuple(map(int, numbers)) if all(len(each) < 20 for each in numbers) else None
        if places is None or any(a > b for a, b in zip(places, self.end(), strict=True)):
            return None
        return places


class _Ring:
    def __init__(self, size: int) -> None:
        self.count = 0
        """How many there have been."""
        self._most = size
        self._size = 0
        self._kept: deque[tuple[int, Kept]] = deque()

    @property
    def first(self) -> int:
        """How many are gone."""
        return self.count - len(self._kept)

    def append(self, number: int, kept: Kept) -> None:
        self._kept.append((number, kept))
        self.count += 1
        self._size += kept.size
        while len(self._kept) > self._most or (self._size > BYTES and len(self._kept) > 1):
            self._size -= self._kept.popleft()[1].size

    def after(self, place: int, limit: int) -> list[tuple[int, Kept]]:
        begin = place - self.first
        return [self._kept[i] for i in range(begin, min(begin + limit, len(self._kept)))]
