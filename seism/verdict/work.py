"""Work that is lost, and work that is done twice, by the exchanges that change something.

An exchange belongs to the one request that sent on its connection at that time. *Lost work*: a
request was hit and answered as usual, although what every request of the control run makes the
backend do was not done, and nothing else was done instead. *Done twice*: the backend has carried
out the same kind of exchange more often than for any request of the control run.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from seism.journal import ChangingExchange
from seism.protocols.base import ADDS, CHANGES, COMMITS, COUNTS, SETS
from seism.verdict.client_view import took
from seism.verdict.detector import ENOUGH, Told, by_request
from seism.verdict.result import AMBER, LOST_WORK, RED, TWICE, Verdict
from seism.verdict.rules import Rules
from seism.verdict.steady_state import ControlRun
from seism.verdict.step import StepWindow
from seism.verdict.timeline import Timeline
from seism_middleware.contract import BODY_COMPLETE, RequestEnded

SLACK_S = 0.005
"""The clocks of the proxy and of the app may differ by this."""
WORK = (ADDS, SETS, CHANGES, COMMITS)
"""Effects that are missed if they are lost."""
READING = ("GET", "HEAD", "OPTIONS")
HTTP = ("POST", "PATCH", "PUT", "DELETE")
"""Kinds of HTTP's exchanges: a request that reads may ask by POST, too."""

WORDS = {"content": "mail"}
"""Kinds that people call otherwise."""

Kind = tuple[str, str]
"""(Backend, what)."""


@dataclass(frozen=True, slots=True)
class Usual:
    """What the requests of the control run have made backends do."""

    always: Mapping[Kind, str]
    """Kinds of work that each of them has had done -> its effect."""
    most: Mapping[Kind, int]
    """How often one of them has had it done."""


class WorkDetector:
    """Joins the exchanges of one journal with its requests."""

    def __init__(self, timeline: Timeline, control: ControlRun, rules: Rules) -> None:
        self._control = control
        self._of, self._doubtful = _owned(timeline)
        certain = [r for r in timeline.steady_requests if r.request not in self._doubtful]
        self._usual = {
            key: self._usual_of(requests)
            for key, requests in by_request(certain).items()
            if len(requests) >= ENOUGH
        }

    def told(self, step: StepWindow) -> Iterator[Told]:
        """Of the requests of one step that were hit."""
        for key, mine in by_request(step.requests).items():
            usual = self._usual.get(key)
            if usual is None or (not usual.always and not usual.most):
                continue
            lost: dict[str, list[RequestEnded]] = defaultdict(list)
            for request in mine:
                if not step.attributions(request.request) or request.request in self._doubtful:
                    continue
                yield from self._twice(key[0], usual, request)
                if what := self._lost(step, usual, request):
                    lost[what].append(request)
            for what, requests in lost.items():
                ids = frozenset(request.request for request in requests)
                logged = sum(bool(request.errors) for request in requests)
                log = f"; {logged} of them logged an error" if logged else "; none logged an error"
                told = f"lost work: {len(requests)} answered as usual, but {what}{log}"
                yield Told(key[0], ids, Verdict(AMBER, told, LOST_WORK), certain=True)

    def _usual_of(self, requests: Sequence[RequestEnded]) -> Usual:
        done = [Counter(_kind(each) for each in self._done(request)) for request in requests]
        effects = {_kind(e): e.effect for request in requests for e in self._done(request)}
        always = {
            kind: effect
            for kind, effect in effects.items()
            if effect in WORK
            and all(counts[kind] for counts in done)
            and not _only_asks(kind, requests[0])
        }
        if all(effect == COMMITS for effect in always.values()):
            always = {}  # what is committed was only read
        most = {kind: max(counts[kind] for counts in done) for kind in effects}
        return Usual(always, most)

    def _done(self, request: RequestEnded) -> list[ChangingExchange]:
        return [each for each in self._of.get(request.request, ()) if each.done]

    def _lost(self, step: StepWindow, usual: Usual, request: RequestEnded) -> str:
        """The work that ``request`` has lost, in words; empty if none."""
        fine = request.body == BODY_COMPLETE and (request.status or 500) < 400
        if not fine or not self._control.is_usual(request):
            return ""
        done = {_kind(each) for each in self._done(request)}
        lost = [kind for kind in usual.always if kind not in done and kind[0] in step.backends]
        if not lost or done - usual.always.keys():
            return ""
        return " and ".join(
            f"its {WORDS.get(what, what)} never got through to {proxy}" for proxy, what in lost
        )

    def _twice(self, route: str, usual: Usual, request: RequestEnded) -> Iterator[Told]:
        done = self._done(request)
        counts = Counter(map(_kind, done))
        effects = {_kind(each): each.effect for each in done}
        for kind, effect in effects.items():
            most = usual.most.get(kind)
            if most is None or counts[kind] <= most or effect not in (ADDS, COUNTS, CHANGES):
                continue
            if _only_asks(kind, request):
                continue
            commits = kind[0], "COMMIT"
            if counts[commits] <= usual.most.get(commits, -1):
                continue  # what came first was rolled back
            times = f"{counts[kind]} times, {most} in the control run"
            word = WORDS.get(kind[1], kind[1])
            what = f"done twice: its {word} was carried out by {kind[0]} {times}"
            colour = AMBER if effect == CHANGES else RED
            verdict = Verdict(colour, what, TWICE)
            yield Told(route, frozenset({request.request}), verdict, certain=True)


def _kind(exchange: ChangingExchange) -> Kind:
    return exchange.proxy, exchange.what


def _only_asks(kind: Kind, request: RequestEnded) -> bool:
    """Whether it may be a question: searches are asked by POST, too."""
    return kind[1] in HTTP and request.method in READING


def _owned(timeline: Timeline) -> tuple[dict[str, list[ChangingExchange]], set[str]]:
    """(Request id -> its exchanges, requests of which that is not certain)."""
    users: dict[str, list[RequestEnded]] = defaultdict(list)
    for request in timeline.requests.values():
        for local in {send.local for send in request.sends}:
            users[local].append(request)
    found: dict[str, list[ChangingExchange]] = defaultdict(list)
    doubtful: set[str] = set()
    for exchange in timeline.changing:
        near = list(_running(users.get(exchange.client, ()), exchange.at, SLACK_S))
        owners = list(_running(near, exchange.at, 0.0)) or near
        if len(owners) == 1:
            found[owners[0].request].append(exchange)
        doubtful.update(owner.request for owner in owners if len(owners) > 1)
    return found, doubtful


def _running(requests: Iterable[RequestEnded], at: float, slack: float) -> Iterator[RequestEnded]:
    for request in requests:
        if request.began - slack <= at <= request.began + took(request) + slack:
            yield request
