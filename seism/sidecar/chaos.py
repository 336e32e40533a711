"""Standing chaos: perturbs real traffic at random times for as long as the sidecar runs.

Times, choices and durations come from the seed, in a fixed order of draws. Each
perturbation is judged when it is over by the requests that it hit, into journal, log and
metrics. When more requests fail than the error budget allows, it undoes what there is and
stays stopped.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import gevent
from webob import Request, Response

from seism.clock import Clock
from seism.errors import Conflict, NotFound, SeismError
from seism.experiment.config import Chaos, Planned, toxic_of
from seism.journal import ChaosBegan, ChaosJudged, ChaosStopped
from seism.model import DOWN
from seism.proxy.collection import CHAOS, Collection, acting
from seism.rng import Seed
from seism.sidecar.control.router import Route, answer
from seism.verdict.request import opinion
from seism.verdict.result import GREEN, NOT_COVERED, SEVERITY
from seism.verdict.rules import Rules
from seism.verdict.timeline import route_of
from seism_middleware.contract import Attribution, PerturbationBegan, RequestEnded

logger = logging.getLogger(__name__)

SETTLE_S = 5.0
"""Seconds after its end in which requests that a perturbation hit may still end."""
REMEMBERED = 10_000
"""Requests that are kept for attributions that come after them."""
ENOUGH = 20
"""Requests in the budget's window before a share of failures means anything."""


@dataclass(frozen=True, slots=True)
class ChaosShown:
    """Where standing chaos stands."""

    running: bool
    stopped: str
    """Why it has stopped; empty while it has not."""
    active: list[str]
    judged: dict[str, int]
    """Colour -> perturbations."""
    skipped: int
    """Times when something was due and hours, limit or a toxic of that name forbade it."""


@dataclass(slots=True)
class _Active:
    """One perturbation from its begin to its verdict."""

    planned: Planned
    at: float
    over: bool = False
    perturbations: set[str] = field(default_factory=set)
    hit: set[str] = field(default_factory=set)


class StandingChaos:
    """Lives on the event loop. ``start`` once; ``stop`` is repeatable."""

    def __init__(
        self,
        options: Chaos,
        mix: Sequence[tuple[Planned, int]],
        rules: Rules,
        collection: Collection,
        seed: Seed,
        clock: Clock,
        write: Callable[[Any], None],
        hour: Callable[[], tuple[int, int]],
    ) -> None:
        """``mix`` is what may be perturbed, with weights; ``write`` takes the records;
        ``hour`` gives weekday (0 is Monday) and hour now.
        """
        self._options = options
        self._mix = mix
        self._rules = rules
        self._collection = collection
        self._draws = seed.stream("chaos")
        self._clock = clock
        self._write = write
        self._hour = hour
        self._active: list[_Active] = []
        self._requests: dict[str, RequestEnded] = {}
        self._window: deque[tuple[float, bool]] = deque()
        self._judged: Counter[str] = Counter()
        self._skipped = 0
        self._stopped = ""

    def start(self) -> None:
        """Begin; the first perturbation comes when the seed says."""
        gevent.spawn(self._run)

    def stop(self, why: str) -> None:
        """Undo what there is, and perturb nothing any more."""
        if self._stopped:
            return
        self._stopped = why
        for active in list(self._active):
            self._end(active)
        self._write(ChaosStopped(self._clock.now(), why))
        logger.warning("chaos has stopped: %s", why)

    def observe(self, record: Any) -> None:
        """Take one record of an observer or a proxy."""
        if isinstance(record, PerturbationBegan):
            for active in self._active:
                planned = active.planned
                if (record.proxy, record.toxic) == (planned.backend, planned.toxic):
                    active.perturbations.add(record.perturbation)
        elif isinstance(record, Attribution) and record.request is not None:
            for active in self._active:
                if record.perturbation in active.perturbations:
                    active.hit.add(record.request)
        elif isinstance(record, RequestEnded):
            self._requests[record.request] = record
            if len(self._requests) > REMEMBERED:
                del self._requests[next(iter(self._requests))]
            self._spend(record)

    def routes(self) -> list[Route]:
        """The rows, to be put into a Router."""

        def show(_: Request) -> Response:
            return answer(
                {
                    "running": not self._stopped,
                    "stopped": self._stopped,
                    "active": [each.planned.name for each in self._active if not each.over],
                    "judged": dict(self._judged),
                    "skipped": self._skipped,
                }
            )

        def stop(request: Request) -> Response:
            self.stop("asked to")
            return show(request)

        return [
            Route("GET", "/seism/chaos", show, "Where standing chaos stands", gives=ChaosShown),
            Route(
                "DELETE", "/seism/chaos", stop,
                "Stop standing chaos for good, and undo what it has perturbed", gives=ChaosShown,
            ),
        ]  # fmt: skip

    def _run(self) -> None:
        weights = [weight for _, weight in self._mix]
        while not self._stopped:
            # All draws are made whatever comes of them, so that the k-th is always the k-th.
            pause = self._draws.expovariate(self._options.per_hour / 3600)
            ((planned, _),) = self._draws.choices(self._mix, weights)
            seconds = self._options.seconds * (0.5 + self._draws.random())
            gevent.sleep(pause)
            if not self._stopped and not self._begin(planned, seconds):
                self._skipped += 1

    def _begin(self, planned: Planned, seconds: float) -> bool:
        lasting = [active for active in self._active if not active.over]
        if len(lasting) >= self._options.at_most or not self._options.open_at(*self._hour()):
            return False
        active = _Active(planned, self._clock.now())
        self._active.append(active)  # before the toxic: what it does at once is its own
        try:
            with acting(CHAOS):
                if planned.type == DOWN:
                    if not self._collection.get(planned.backend).enabled:
                        raise Conflict(f"{planned.backend} is down already")
                    self._collection.update(planned.backend, enabled=False)
                else:
                    self._collection.add_toxic(planned.backend, toxic_of(planned))
        except SeismError as error:
            self._active.remove(active)
            logger.warning("chaos: %s: %s", planned.name, error)
            return False
        self._write(ChaosBegan(planned.name, planned.backend, active.at, round(seconds, 3)))
        logger.info("chaos: %s begins, for %.0f s", planned.name, seconds)
        gevent.spawn_later(seconds, self._end, active)
        return True

    def _end(self, active: _Active) -> None:
        if active.over:
            return
        active.over = True
        planned = active.planned
        try:
            with acting(CHAOS):
                if planned.type == DOWN:
                    self._collection.update(planned.backend, enabled=True)
                else:
                    self._collection.remove_toxic(planned.backend, planned.toxic)
        except NotFound:
            pass  # somebody else has undone it
        except SeismError as error:
            logger.error("chaos: %s could not be undone: %s", planned.name, error)
        gevent.spawn_later(SETTLE_S, self._judge, active)

    def _judge(self, active: _Active) -> None:
        self._active.remove(active)
        colour, reasons = NOT_COVERED, Counter[str]()
        for key in active.hit:
            request = self._requests.get(key)
            if request is None:
                continue
            found = opinion(request, self._rules)
            colour = max(colour, found.colour, key=SEVERITY.__getitem__)
            if found.reason:
                reasons[f"{route_of(request)}: {found.reason}"] += 1
        self._judged[colour] += 1
        told = tuple(f"{reason} ({count} times)" for reason, count in reasons.most_common())
        planned = active.planned
        self._write(
            ChaosJudged(planned.name, planned.backend, active.at, colour, len(active.hit), told)
        )
        level = logging.INFO if colour in (GREEN, NOT_COVERED) else logging.WARNING
        logger.log(
            level, "chaos: %s was %s: %d requests hit%s", planned.name, colour, len(active.hit),
            "".join(f"; {reason}" for reason in told),
        )  # fmt: skip

    def _spend(self, request: RequestEnded) -> None:
        """Stop if more requests fail than may."""
        now = self._clock.now()
        failed = request.status is None or request.status >= 500
        self._window.append((now, failed))
        while self._window and self._window[0][0] < now - self._options.window_s:
            self._window.popleft()
        failures = sum(failed for _, failed in self._window) if failed else 0
        share = 100 * failures / len(self._window)
        if len(self._window) >= ENOUGH and share > self._options.budget_percent:
            self.stop(
                f"error budget: {share:.1f} % of {len(self._window)} requests failed, "
                f"{self._options.budget_percent:g} % may"
            )
