"""What there is to sweep: each route x backend x exchange x toxic, and why one is left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from seism.errors import NotReady
from seism.experiment.config import Planned, SweptToxic
from seism.experiment.perturbation import planned_of
from seism.model import DOWN
from seism.verdict import alone
from seism.verdict.client_view import observations
from seism.verdict.timeline import Timeline, route_of
from seism_middleware.contract import RequestEnded

NO_USE = "it sends nothing to this backend"
UNKNOWN = "others talk to this backend all the time, and no driver shows who does"
UNFIT = "not of this backend's protocol"
OFF = "switched off"
TWIN = "the same as {}: the same route and exchanges"
MANY = "beyond the first {} exchanges"
LOOP = "a repetition in a loop: the same kind and place as #{}"


@dataclass(frozen=True, slots=True)
class Learnt:
    """What one [[load.route]] does when nothing is perturbed."""

    sent: str
    """``METHOD /path``, as the load sends it."""
    route: str
    """``METHOD /pattern``, as it is observed."""
    sends: dict[str, int]
    """Backend -> the most sends of one request; 1 where only its proxy saw that it was used."""
    unknown: frozenset[str] = frozenset()
    """Backends of which nobody can say whether it uses them."""
    exchanges: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Backend -> the exchanges of one request, in the backend's words, where its protocol is
    known and each send is one."""

    def repeats(self, backend: str, turn: int) -> int:
        """The earlier exchange of the same kind that follows the same kind; 0: there is none."""
        known = ("", *self.exchanges.get(backend, ()))
        if turn >= len(known):
            return 0
        here = known[turn - 1 : turn + 1]
        return next((n for n in range(1, turn) if known[n - 1 : n + 1] == here), 0)


@dataclass(frozen=True, slots=True)
class Point:
    """One thing that could be perturbed, and why it is not, if so."""

    learnt: Learnt
    backend: str
    toxic: SweptToxic
    turn: int
    """Which exchange; 0: the backend as a whole."""
    skipped: str = ""
    fault: bool = False
    """It acts on exchanges of the backend's protocol, which the proxy counts itself."""
    where: Mapping[str, str] = field(default_factory=dict)
    """``Fault.swept_where``, unless the toxic has conditions of its own."""

    @property
    def column(self) -> str:
        """The perturbation's name in reports."""
        turn = f" #{self.turn}" if self.turn else ""
        known = self.learnt.exchanges.get(self.backend, ())
        # A fault counts the exchanges that it fits, which can be fewer.
        named = (
            f" ({known[self.turn - 1]})" if not self.fault and 0 < self.turn <= len(known) else ""
        )
        return f"{self.backend} {self.toxic.name}{turn}{named}"

    def planned(self) -> Planned:
        """The perturbation that tries it; a cold start is one for all routes."""
        if self.toxic.cold_start:
            return planned_of(self.toxic, self.backend, name=self.column)
        exchange: dict[str, Any] = dict(self.toxic.exchange or self.where)
        if self.fault and self.turn:
            exchange["nth"] = self.turn
        return planned_of(
            self.toxic,
            self.backend,
            name=f"{self.column}: {self.learnt.sent}",
            exchange=exchange,
            turn=0 if self.fault else self.turn,
            route=self.learnt.sent,
        )


def learnt_of(timeline: Timeline, sent: Sequence[str], each: int) -> list[Learnt]:
    """From a control run in which ``each`` requests of each of ``sent`` came in that order.

    Raises NotReady if an observation is missing.
    """
    segment = timeline.find("steady")
    requests = observations(segment.requests) if segment is not None else []
    if len(requests) < each * len(sent):
        raise NotReady(f"{each * len(sent)} requests were sent, {len(requests)} were observed")
    reached = segment.reached if segment is not None else []
    quiet = alone.quiet(reached, requests)
    restless = alone.restless(reached, requests).difference(sends_of(requests))
    found = []
    for index, route in enumerate(sent):
        mine = requests[index * each :][:each]
        by_proxy = dict.fromkeys(quiet & alone.used(reached, mine), 1)
        found.append(Learnt(route, route_of(mine[0]), by_proxy | sends_of(mine), restless))
    return found


def sends_of(requests: Iterable[RequestEnded]) -> dict[str, int]:
    """Backend -> the most sends of one of ``requests``."""
    most: Counter[str] = Counter()
    for request in requests:
        sends: Counter[str] = Counter()
        for exchange in request.sends:
            sends[exchange.backend] += exchange.sends
        most |= sends
    return dict(sorted(most.items()))


def points(
    learnt: Sequence[Learnt],
    backends: Sequence[str],
    toxics: Sequence[SweptToxic],
    exchanges: int,
    without: Sequence[str] = (),
    fits: Callable[[SweptToxic, str], bool] = lambda toxic, backend: True,
    is_fault: Callable[[SweptToxic], bool] = lambda toxic: False,
    lasts: Callable[[SweptToxic], bool] = lambda toxic: toxic.type == DOWN,
    where: Callable[[SweptToxic], Mapping[str, str]] = lambda toxic: {},
) -> Iterator[Point]:
    """Everything that could be tried, in order; at most ``exchanges`` of each request."""
    seen: dict[tuple[str, str], Learnt] = {}
    for one in learnt:
        twin = seen.setdefault((one.route, str(one.sends)), one)
        for backend in backends:
            sends = one.sends.get(backend, 0)
            for toxic in toxics:
                # A state, such as being down, is one for all exchanges.
                last = max(sends, 1)
                cold = toxic.cold_start
                turns = [0] if cold or lasts(toxic) else range(1, last + 1)
                for turn in turns:
                    skipped = (
                        UNFIT if not fits(toxic, backend)
                        else OFF if toxic.name in without
                        else "" if cold
                        else UNKNOWN if not sends and backend in one.unknown
                        else NO_USE if not sends
                        else TWIN.format(twin.sent) if twin is not one
                        else MANY.format(exchanges) if turn > exchanges
                        else LOOP.format(loop) if (loop := one.repeats(backend, turn))
                        and not is_fault(toxic)
                        else ""
                    )  # fmt: skip
                    yield Point(one, backend, toxic, turn, skipped, is_fault(toxic), where(toxic))
