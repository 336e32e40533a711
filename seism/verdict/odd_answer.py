"""Answers that differ from the control run's in status, in the target of a redirect, or in form.

A redirect or a 4xx that the control run never gave, and a whole body that does not parse, are red
on a request that was hit. On requests that nothing is known to have hit, and where the control run
knows such answers, their share must be significantly larger than in the control run (Fisher's
exact test), as one answer in a hundred may be the app's own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from seism.verdict.client_view import sent_of, target
from seism.verdict.detector import Told, by_request, counted, usual_answers
from seism.verdict.result import ODD, RED, Verdict
from seism.verdict.rules import Rules
from seism.verdict.significance import SIGNIFICANT, fisher_exact
from seism.verdict.steady_state import ControlRun
from seism.verdict.step import StepWindow
from seism.verdict.timeline import Timeline
from seism_middleware.contract import RequestEnded

TOO_MANY = 429
"""The load's own pace decides how many of these there are."""


class OddAnswerDetector:
    """Compares statuses, targets and forms."""

    def __init__(self, timeline: Timeline, control: ControlRun, rules: Rules) -> None:
        self._control = control

    def told(self, step: StepWindow) -> Iterator[Told]:
        """Of one step."""
        control = self._control
        if step.is_front:
            return
        during = {request.request for request in step.during.requests}
        for (route, sent), mine in by_request(step.requests).items():
            usual = usual_answers(control, route, sent)
            known = Counter(_kind(request, control) for request in usual)
            found: dict[str, list[RequestEnded]] = {}
            for request in mine:
                if request.status not in control.rules[route].allow:
                    found.setdefault(_kind(request, control), []).append(request)
            found.pop("", None)
            for kind, odd in found.items():
                hit = [each for each in odd if step.attributions(each.request)]
                new = f"{kind}, which the control run never gave"
                if known[kind]:
                    hit = []
                elif hit:
                    yield _told(route, hit, new)
                rest = [each for each in mine if each.request in during and each not in hit]
                odd = [each for each in rest if each in odd]
                if odd and not known[kind] and step.is_down:
                    yield _told(route, odd, new)  # nobody may have seen a connect that failed
                elif odd and not (known[kind] and odd[0].status == TOO_MANY):
                    share = fisher_exact(len(odd), len(rest), known[kind], len(usual))
                    if share < SIGNIFICANT / len(step.timeline.plan):
                        figures = counted(len(odd), len(rest))
                        more = f"{known[kind]} of {len(usual)} in the control run"
                        yield _told(route, odd, f"{kind} to {figures}, {more}")


def _kind(request: RequestEnded, control: ControlRun) -> str:
    """The odd part of an answer, in words; empty for a 2xx, a 5xx, and no answer."""
    sent = sent_of(request)
    if target(request):
        return f"{request.status} to {control.target(request)}"
    if request.status is not None and 400 <= request.status < 500:
        return str(request.status)
    if sent is not None and sent.unexpected:
        return f"{request.status} that is not as expected ({sent.unexpected})"
    if sent is not None and sent.broken:
        return f"{request.status} with a body that is not complete {sent.broken}"
    return ""


def _told(route: str, requests: Iterable[RequestEnded], reason: str) -> Told:
    ids = frozenset(each.request for each in requests)
    return Told(route, ids, Verdict(RED, reason, ODD), True)
