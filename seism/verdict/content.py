"""Content that differs from the control run's answers to the same request.

The reference of a request is its whole 2xx answers in the control runs, at least five before the
first perturbation and three after the last. A part that differs among these is volatile, as are the
items of a list that varies, and they are left out. A request that was hit and gets other content
is *degraded*: amber, or what ``degraded`` of its route says. Differences that the route still
shows at the end of the aftershock are state that a perturbed write may have left behind, and are
nobody's fault; where the load writes, so are those that requests show which nothing hit.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from seism.verdict.client_view import sent_of
from seism.verdict.detector import ENOUGH, Told, by_request, counted
from seism.verdict.result import DEGRADED, GREEN, Verdict
from seism.verdict.rules import Rules
from seism.verdict.significance import SIGNIFICANT, fisher_exact
from seism.verdict.steady_state import ControlRun
from seism.verdict.step import StepWindow
from seism.verdict.timeline import Timeline
from seism_middleware.contract import BODY_COMPLETE, RequestEnded

ENOUGH_AFTER = 3
"""Answers after the last perturbation that are enough; ``ENOUGH`` are before the first."""
MOST = 3
"""Differences that are named."""
READING = ("GET", "HEAD", "OPTIONS")
"""Methods that change nothing (RFC 9110, section 9.2.1)."""
TYPE, LINE, REST = "type", "line:", "(rest)"
"""Names of parts other than JSON paths, as ``experiment.answer`` gives them."""

Parts = Mapping[str, str]

_TIMES = frozenset(
    "at age ago date day time timestamp ts ms sec secs seconds took elapsed duration latency "
    "uptime ttl expires updated modified now version etag nonce token".split()
)
"""Words that end the names of values which time changes by itself."""
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_KINDS = {"o": "an object", "l": "a list", "s": "a text", "n": "a number", "b": "a truth value"}


@dataclass(frozen=True, slots=True)
class Usual:
    """What the control runs answered to one request."""

    answers: int
    status: int | None
    """None: it differs among them."""
    stable: Parts
    volatile: frozenset[str]
    shortest: Mapping[str, int]
    """Name of a list whose length varies -> its least length."""

    @classmethod
    def of(cls, answers: Sequence[tuple[int | None, Parts]]) -> Usual:
        """From (status, parts) of each."""
        statuses = {status for status, _ in answers}
        everything = [parts for _, parts in answers]
        names = {name for parts in everything for name in parts}
        first = everything[0]
        stable = {
            name: value
            for name, value in first.items()
            if all(parts.get(name) == value for parts in everything)
        }
        volatile = frozenset(names - set(stable))
        shortest = {
            name: min(int(parts[name][1:]) for parts in everything)
            for name in volatile
            if all(re.fullmatch(r"l\d+", parts.get(name, "")) for parts in everything)
        }
        status = statuses.pop() if len(statuses) == 1 else None
        return cls(len(answers), status, stable, volatile, shortest)

    def differences(self, status: int | None, parts: Parts) -> dict[str, str]:
        """Name of each part that differs -> how, in words."""
        if self.status is not None and status != self.status:
            return {"status": f"its status was {self.status}, now {status}"}
        was, now = self.stable.get(TYPE), parts.get(TYPE)
        if was is not None and was != now:
            return {TYPE: f"its type was {was or 'not given'}, now {now or 'not given'}"}
        found: dict[str, tuple[str | None, str | None]] = {
            name: (value, parts.get(name))
            for name, value in self.stable.items()
            if parts.get(name) != value and not name.startswith(LINE) and self._counts(name)
        }
        found |= {
            name: (None, value)
            for name, value in parts.items()
            if name not in self.stable and name not in self.volatile and self._counts(name)
            if not name.startswith(LINE) and name != REST
        }
        emptied = {
            name: f"`{name}` was a list of at least {least}, now empty"
            for name, least in self.shortest.items()
            if least and parts.get(name) == "l0"
        }
        return {**emptied, **_topmost(found), **self._lines(parts)}

    def _counts(self, name: str) -> bool:
        """Whether a difference in ``name`` counts: nothing above it is volatile."""
        words = _WORDS.findall(name)
        of_time = bool(words) and words[-1].lower() in _TIMES
        return not of_time and not any(up in self.volatile for up in _above(name))

    def _lines(self, parts: Parts) -> dict[str, str]:
        lines = [name for name in self.stable if name.startswith(LINE)]
        missing = sum(parts.get(name) != self.stable[name] for name in lines)
        # Where lines vary, nobody knows which are new.
        varies = any(name.startswith(LINE) for name in self.volatile)
        new = sum(name.startswith(LINE) and name not in self.stable for name in parts)
        if not missing and (varies or not new):
            return {}
        told = [f"{missing} of {len(lines)} lines {_are(missing)} missing"] if missing else []
        told += [f"{new} {_are(new)} new"] if new and not varies else []
        return {LINE: ", ".join(told)}


class ContentDetector:
    """Compares the contents of one journal."""

    def __init__(self, timeline: Timeline, control: ControlRun, rules: Rules) -> None:
        self._rules = rules
        self._parts = {
            (sent.route, sent.content): sent.parts
            for sent in timeline.clients
            if sent.parts is not None
        }
        self._reads = all(sent.route.partition(" ")[0] in READING for sent in timeline.clients)
        late = timeline.find("control")
        before = by_request(timeline.steady_requests)
        after = by_request(late.requests if late is not None else ())
        self._usual: dict[tuple[str, str], Usual] = {}
        for key, requests in before.items():
            first = [(each.status, parts) for each in requests if (parts := self._of(each))]
            last = [
                (each.status, parts) for each in after.get(key, ()) if (parts := self._of(each))
            ]
            if len(first) >= ENOUGH and len(last) >= ENOUGH_AFTER:
                self._usual[key] = Usual.of([*first, *last])

    def told(self, step: StepWindow) -> Iterator[Told]:
        """Of one step."""
        if step.is_front:
            return
        after = by_request(step.after.requests)
        for key, mine in by_request(step.during.requests).items():
            usual = self._usual.get(key)
            answers = [each for each in mine if self._of(each)]
            if usual is None or not answers:
                continue
            hit = [each for each in answers if step.attributions(each.request)]
            other = [each for each in answers if each not in hit]
            state = {
                name for each in after.get(key, ())[-1:] for name in self._differs(usual, each)
            }
            if not self._reads:
                state |= {name for each in other for name in self._differs(usual, each)}
            found = list(self._degraded(step, key[0], usual, hit, state, SIGNIFICANT))
            if self._reads:
                limit = SIGNIFICANT / len(step.timeline.plan)
                found += self._degraded(step, key[0], usual, other, state, limit)
            yield from found or self._same(step, key[0], mine, hit)

    def _of(self, request: RequestEnded) -> Parts | None:
        """The parts of a whole 2xx, if they are known."""
        sent = sent_of(request)
        if sent is None or not sent.content or request.body != BODY_COMPLETE or sent.broken:
            return None
        return self._parts.get((sent.route, sent.content))

    def _differs(self, usual: Usual, request: RequestEnded) -> dict[str, str]:
        parts = self._of(request)
        return usual.differences(request.status, parts) if parts else {}

    def _degraded(
        self,
        step: StepWindow,
        route: str,
        usual: Usual,
        requests: Sequence[RequestEnded],
        state: set[str],
        limit: float,
    ) -> Iterator[Told]:
        """The ``requests`` that differ in more than ``state``, unless it may be coincidence."""
        words: Counter[str] = Counter()
        found = []
        for request in requests:
            differs = self._differs(usual, request)
            if differs.keys() - state:
                found.append(request)
                words.update(text for name, text in differs.items() if name not in state)
        if not found or fisher_exact(len(found), len(requests), 0, usual.answers) >= limit:
            return
        named = [text for text, _ in words.most_common(MOST)]
        more = f" and {len(words) - MOST} more" if len(words) > MOST else ""
        logged = sum(_names(request, step.backends) for request in found)
        log = f"; {counted(logged, len(found))} logged an error about it" if logged else ""
        what = (
            f"degraded: {counted(len(found), len(requests))} got other content than in the "
            f"control run: {', '.join(named)}{more}{log}"
        )
        verdict = Verdict(self._rules.of(route).degraded, what, DEGRADED)
        yield Told(route, frozenset(each.request for each in found), verdict, True)

    def _same(
        self,
        step: StepWindow,
        route: str,
        mine: Sequence[RequestEnded],
        hit: Sequence[RequestEnded],
    ) -> Iterator[Told]:
        """A note on requests that a backend has failed, and that got the usual content."""
        failed = [each for each in hit if each.errors or each.refused or step.is_down]
        if not failed or len(failed) < sum(bool(step.attributions(each.request)) for each in mine):
            return
        logged = sum(bool(each.errors) for each in failed)
        log = f"; {logged} of them logged an error" if logged else ""
        what = (
            f"{counted(len(failed), len(failed))} that were hit got the same content as in the "
            f"control run, without {' and '.join(step.backends)}{log}"
        )
        ids = frozenset(each.request for each in failed)
        yield Told(route, ids, Verdict(GREEN, what))


def _names(request: RequestEnded, backends: Sequence[str]) -> bool:
    return any(set(error.backends) & set(backends) for error in request.errors)


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _changed(name: str, was: str | None, now: str | None) -> str:
    if was is None:
        return f"`{name}` is new"
    if now is None:
        return f"`{name}` is missing"
    if was[0] == now[0] == "l":
        return (
            f"`{name}` was a list of {was[1:]}, now {'empty' if now == 'l0' else f'of {now[1:]}'}"
        )
    if was[0] == now[0] == "o":
        return f"`{name}` has other keys"
    if was[0] == now[0] and "s" not in (was, now):
        return f"`{name}` is another {_KINDS.get(was[0], 'a value').partition(' ')[2]}"
    return f"`{name}` was {_kind(was)}, now {_kind(now)}"


def _kind(value: str) -> str:
    if value == "s":
        return "an empty text"
    if value == "z":
        return "null"
    if value == "l0":
        return "an empty list"
    return f"a list of {value[1:]}" if value[0] == "l" else _KINDS.get(value[0], "another value")


def _above(name: str) -> Iterator[str]:
    """The names of what a JSON path is in, the innermost first."""
    while (cut := max(name.rfind("."), name.rfind("["))) > 0:
        name = name[:cut]
        yield name


def _topmost(found: Mapping[str, tuple[str | None, str | None]]) -> dict[str, str]:
    """Each difference in words, without what follows from another one: a list that is empty has no
    items, and an object with other keys differs in these.
    """
    holders = {up for name in found for up in _above(name)}
    passed = {
        name
        for name, (was, now) in found.items()
        if name in holders and was and now and was[0] == now[0] == "o"
    }
    told = found.keys() - passed
    return {
        name: _changed(name, *found[name])
        for name in sorted(told, key=lambda name: (name.count("."), name))
        if not any(up in told for up in _above(name))
    }
