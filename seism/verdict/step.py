"""What of a timeline belongs to one planned perturbation: its time, its aftershock, its hits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from seism.model import DOWN, PlannedStep
from seism.verdict.failed_connect import is_certain
from seism.verdict.timeline import Segment, Timeline
from seism_middleware.contract import Attribution, PerturbationBegan, RequestEnded

ENDS_PARKED = ("restart", "goodbye")
"""Types that end the connections that nobody waits on: a client can notice it without a byte."""
OUTLASTS = "half_open"
"""The type whose connections stay dead after its step, until their clients give them up."""


@dataclass(frozen=True, slots=True)
class StepWindow:
    """One planned perturbation, or two at the same time, in a pair of a sweep."""

    timeline: Timeline
    index: int
    planned: PlannedStep
    ran: bool
    """Whether it came to its turn; if not, all segments are empty."""
    before: Segment
    """The last segment before it in which nothing lasted that was planned."""
    during: Segment
    after: Segment
    """Its aftershock."""
    records: Mapping[str, PerturbationBegan]
    """Its perturbations, by id."""

    @classmethod
    def of(cls, timeline: Timeline, index: int) -> StepWindow:
        """The window of the planned perturbation at ``index``."""
        planned = timeline.plan[index]
        during, after = timeline.find("during", index), timeline.find("after", index)
        targets = planned.targets
        return cls(
            timeline,
            index,
            planned,
            during is not None,
            timeline.before(index) or Segment.empty(),
            during or Segment.empty(),
            after or Segment.empty(),
            {
                record.perturbation: record
                for segment in (during, after)
                if segment is not None
                for record in segment.perturbations
                if (record.proxy, record.toxic) in targets
            },
        )

    @property
    def began(self) -> float:
        """When it began, in the journal's seconds."""
        return self.during.phase.at

    @property
    def over(self) -> float:
        """When the phase after its aftershock began, or the last one of the journal."""
        segments, last = self.timeline.segments, max(self.began, self.after.phase.at)
        later = (each.phase.at for each in segments if each.phase.at > last)
        return next(later, segments[-1].phase.at)

    @property
    def name(self) -> str:
        """As reports show it."""
        return self.planned.name

    @property
    def targets(self) -> list[tuple[str, str]]:
        """(Proxy, toxic) of what is done."""
        return self.planned.targets

    @property
    def backends(self) -> list[str]:
        """The backends that are perturbed, each once."""
        return list(dict.fromkeys(backend for backend, _ in self.targets))

    @property
    def only_backend(self) -> str:
        """The backend that an error in the log should name; empty where there are two."""
        backends = self.backends
        return backends[0] if len(backends) == 1 else ""

    @property
    def is_front(self) -> bool:
        """Whether it is the clients' side of the app that is perturbed."""
        return self.planned.front

    @property
    def is_probe(self) -> bool:
        """Whether it is one of a sweep, which may find nothing to perturb."""
        return self.planned.probe

    @property
    def is_down(self) -> bool:
        """Whether all that is done is that backends are away."""
        return all(type_ == DOWN for type_ in self.planned.types)

    @property
    def is_cold_start(self) -> bool:
        """Whether the app was started while it lasted, which concerns all of its routes."""
        return self.planned.cold_start

    @property
    def is_of_parked(self) -> bool:
        """Whether it is done to connections that a pool keeps, which an app can do without."""
        return {*self.planned.types} <= {*ENDS_PARKED, OUTLASTS}

    @property
    def is_of_all(self) -> bool:
        """Whether it is for whoever uses the backend, and not for a part of them."""
        spec = self.planned.spec
        partial = spec.match or spec.connections or spec.exchange or spec.turn or spec.established
        return spec.toxicity >= 1 and not partial

    @property
    def requests(self) -> list[RequestEnded]:
        """Those of the perturbation and of its aftershock."""
        return [*self.during.requests, *self.after.requests]

    @property
    def fired(self) -> bool:
        """Whether it had an effect: on bytes, or, for a dead backend, on a connect."""
        if self.is_cold_start:
            return self.ran
        attributed = self.timeline.attributed
        had = {
            (record.proxy, record.toxic)
            for record in self.records.values()
            if record.type != DOWN or record.client or record.perturbation in attributed
        }
        return had == set(self.targets)

    def reconnects(self) -> set[str]:
        """Requests that were the first on a connection in place of those that the step ended."""
        if not self.records or not all(type_ in ENDS_PARKED for type_ in self.planned.types):
            return set()
        taken = {record.client for record in self.records.values()}
        first = set()
        for request in sorted(self.requests, key=lambda each: each.began):
            made = {each.local for each in request.sends if each.backend in self.backends} - taken
            if made:
                first.add(request.request)
            taken |= made
        return first

    def attributions(self, request: str) -> list[Attribution]:
        """The perturbations of this step that are attributed to ``request``."""
        attributions = self.timeline.attributions.get(request, ())
        return [
            attribution for attribution in attributions if attribution.perturbation in self.records
        ]

    def all_attributions(self) -> dict[str, list[Attribution]]:
        """Request id -> its attributions, of those that have any."""
        return {
            r.request: attributions
            for r in self.requests
            if (attributions := self.attributions(r.request))
        }

    def is_hit(self, request: RequestEnded) -> bool:
        """Whether a perturbation of this step has hit it for certain."""
        return any(map(is_certain, self.attributions(request.request)))
