"""What the feed's records say, kept as the terminal shows it: in buckets of time.

Pure: records in, figures out. It holds buckets of one hour and the newest requests and
perturbations, however long it runs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from seism.verdict.result import AMBER, GREEN, RED

BUCKET = 0.5
"""Seconds; a column of the picture is a whole number of them."""
KEPT = 7200
"""Buckets."""
REMEMBERED = 20_000
"""Requests and perturbations that a later record can still name."""
RANK = {"": 0, GREEN: 1, AMBER: 2, RED: 3}
VITALS = ("latency", "cpu", "rss", "connections")


@dataclass(slots=True, eq=False)
class Seen:
    """A request."""

    id: str
    route: str
    end: float
    status: int | None
    duration: float
    exception: str = ""
    errors: tuple[str, ...] = ()
    colour: str = ""
    """Empty until its opinion has come."""
    reason: str = ""
    attributions: list[Mapping[str, Any]] = field(default_factory=list)


@dataclass(slots=True)
class Effect:
    """A perturbation."""

    proxy: str
    toxic: str
    type: str
    at: float
    end: float | None = None

    @property
    def what(self) -> str:
        return f"{self.proxy} {self.type}"


@dataclass(slots=True)
class Bucket:
    """The requests of one route that ended within ``BUCKET`` seconds."""

    worst: str = ""
    count: int = 0


@dataclass(slots=True)
class Cell:
    """What one kind of perturbation did to one route."""

    colour: str = ""
    requests: int = 0


class Model:
    """Everything that is known."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys(RANK, 0)
        self.last = 0.0
        """The newest time that a record has; of the app's machine's monotonic clock."""
        self.routes: dict[str, dict[int, Bucket]] = {}
        """Route -> number of the bucket -> what ended in it."""
        self.backends: dict[str, deque[Effect]] = {}
        self.vitals: dict[str, dict[int, float]] = {name: {} for name in VITALS}
        """The most of each bucket: seconds, seconds of CPU, bytes, connections."""
        self.bad: deque[Seen] = deque(maxlen=100)
        """Requests that are not green, the newest last."""
        self._run = ""
        self._requests: dict[str, Seen] = {}
        self._touched: dict[str, Seen] = {}
        self._effects: dict[str, Effect] = {}
        self._early: dict[str, list[Mapping[str, Any]]] = {}
        self._take: dict[str, Callable[[Mapping[str, Any]], None]] = {
            "request.ended": self._request,
            "opinion": self._opinion,
            "perturbation.began": self._began,
            "perturbation.ended": self._ended,
            "attribution": self._attribution,
        }

    def add(self, record: Mapping[str, Any], run: str = "") -> None:
        """Take one record of the feed, as it was sent by the life ``run`` of the sidecar."""
        if run != self._run:
            self._run = run
            # What a sidecar had begun has ended with it.
            for effect in self._effects.values():
                effect.end = self.last if effect.end is None else effect.end
        if "perturbation" in record:
            # Each life counts them from one.
            record = {**record, "perturbation": self._name(record)}
        take = self._take.get(record["kind"])
        if take is not None:
            take(record)

    def effect(self, attribution: Mapping[str, Any]) -> Effect | None:
        """The perturbation that ``attribution`` names, if it is still known."""
        return self._effects.get(attribution["perturbation"])

    def named(self, record: Mapping[str, Any]) -> Effect | None:
        """The perturbation that a record of the sidecar's present life names."""
        return self._effects.get(self._name(record))

    def _name(self, record: Mapping[str, Any]) -> str:
        return f"{self._run} {record['perturbation']}"

    def cells(self) -> dict[tuple[str, str], Cell]:
        """(route, ``backend type``) -> what that did to the newest requests that it touched."""
        found: dict[tuple[str, str], Cell] = {}
        for request in self._touched.values():
            effects = filter(None, map(self.effect, request.attributions))
            for what in {effect.what for effect in effects}:
                cell = found.setdefault((request.route, what), Cell())
                cell.requests += 1
                cell.colour = max(cell.colour, request.colour, key=RANK.__getitem__)
        return found

    @property
    def active(self) -> int:
        """How many perturbations have begun and not ended."""
        return sum(effect.end is None for effect in self._effects.values())

    def _request(self, record: Mapping[str, Any]) -> None:
        end = record["began"] + record["duration"]
        known = self._requests.get(record["request"])
        if known is not None:  # sent again: the last one counts
            known.status, known.exception = record.get("status"), record.get("exception", "")
            return
        request = Seen(
            record["request"],
            f"{record['method']} {record['route']}",
            end,
            record.get("status"),
            record["duration"],
            record.get("exception", ""),
            tuple(_said(error) for error in record.get("errors", ())),
        )
        self._requests[request.id] = request
        _forget(self._requests)
        for attribution in self._early.pop(request.id, ()):
            self._join(request, attribution)
        self.routes.setdefault(request.route, {})
        self._see(end)
        bucket = int(end / BUCKET)
        self._vital("latency", bucket, record["duration"])
        for name in VITALS[1:]:
            if record.get(name) is not None:
                self._vital(name, bucket, record[name])
        self._count(request, "")

    def _opinion(self, record: Mapping[str, Any]) -> None:
        request = self._requests.get(record["request"])
        if request is None:
            return
        self.counts[request.colour] -= 1
        if request in self.bad:
            self.bad.remove(request)
        request.reason = record.get("reason", "")
        if record["colour"] in (AMBER, RED):
            self.bad.append(request)
        self._count(request, record["colour"])

    def _count(self, request: Seen, colour: str) -> None:
        request.colour = colour
        self.counts[colour] += 1
        row = self.routes[request.route]
        bucket = row.setdefault(int(request.end / BUCKET), Bucket())
        bucket.count += not colour
        bucket.worst = max(bucket.worst, colour, key=RANK.__getitem__)
        _forget(row, KEPT)

    def _began(self, record: Mapping[str, Any]) -> None:
        effect = Effect(record["proxy"], record["toxic"], record["type"], record["at"])
        self._effects[record["perturbation"]] = effect
        _forget(self._effects)
        self.backends.setdefault(effect.proxy, deque(maxlen=REMEMBERED)).append(effect)
        self._see(effect.at)

    def _ended(self, record: Mapping[str, Any]) -> None:
        effect = self._effects.get(record["perturbation"])
        if effect is not None:
            effect.end = record["at"]
            self._see(effect.end)

    def _attribution(self, record: Mapping[str, Any]) -> None:
        if not record.get("request"):
            return
        request = self._requests.get(record["request"])
        if request is None:
            self._early.setdefault(record["request"], []).append(record)
            _forget(self._early)
        else:
            self._join(request, record)

    def _join(self, request: Seen, attribution: Mapping[str, Any]) -> None:
        request.attributions.append(attribution)
        self._touched[request.id] = request
        _forget(self._touched)

    def _see(self, at: float) -> None:
        self.last = max(self.last, at)

    def _vital(self, name: str, bucket: int, value: float) -> None:
        row = self.vitals[name]
        row[bucket] = max(row.get(bucket, 0), value)
        _forget(row, KEPT)


def _said(error: Mapping[str, Any]) -> str:
    """One logged error in a line; templates and types only, as no value ever comes."""
    parts = (error["where"], error.get("exception", ""), error.get("message", ""))
    return " ".join(part for part in parts if part)


def _forget(known: dict[Any, Any], most: int = REMEMBERED) -> None:
    """Leave out the oldest beyond ``most``."""
    while len(known) > most:
        del known[next(iter(known))]
