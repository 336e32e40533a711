"""The end of the app, or of its workers: without a goodbye, or told to exit while they worked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from seism.journal import DIED as DIED_ALONE
from seism.journal import OUT_OF_MEMORY, AppEnded
from seism.verdict.result import AMBER, DIED, HANG, MOST_NAMED, RED, HarmFinding, listed
from seism.verdict.step import StepWindow
from seism.verdict.timeline import worker_of
from seism_middleware.contract import BODY_NONE, RequestEnded


def deaths(step: StepWindow) -> Iterator[HarmFinding]:
    """The workers that died in one step, and the whole app."""
    timeline = step.timeline
    for ended in timeline.app_ends:
        if ended.step == step.index:
            yield _app_end(step, ended)
    # A cold start ends those that run, which the sidecar may notice only when it has begun.
    ended_for_it = {
        hello.worker
        for hello in timeline.workers
        if step.is_cold_start and hello.clock.now < step.began
    }
    for worker, left in timeline.left.items():
        if worker in ended_for_it:
            continue
        if left.reason in (DIED_ALONE, OUT_OF_MEMORY) and step.began <= left.at < step.over:
            how = "was killed for lack of memory" if left.reason == OUT_OF_MEMORY else "died"
            victims = [
                request
                for request in step.requests
                if worker_of(request.request) == worker and request.body == BODY_NONE
            ]
            yield _death(step, worker, how, victims)
    timed_out: dict[str, list[RequestEnded]] = defaultdict(list)
    for request in step.requests:
        if request.exception == "SystemExit":
            timed_out[worker_of(request.request)].append(request)
    for worker, victims in timed_out.items():
        how = "was told to exit by its server, as one is that has timed out,"
        yield _death(step, worker, how, victims)


def _app_end(step: StepWindow, ended: AppEnded) -> HarmFinding:
    who = f"the worker {ended.process}" if ended.process else "the app"
    if ended.code is None:
        kind, what = HANG, f"{who} runs, and did not come back after {step.name}"
    elif ended.code < 0:
        kind, what = DIED, f"{who} was ended by signal {-ended.code}"
    else:
        kind, what = DIED, f"{who} ended with exit code {ended.code}"
    colour = RED
    if step.is_cold_start and ended.code is not None:
        # Whoever starts it may start it again until the backend is there.
        colour, what = AMBER, f"{what}, as it was started while {step.only_backend} was away"
    said = f"; its log ends with: {' / '.join(ended.said)}" if ended.said else ""
    return HarmFinding(
        kind=kind,
        perturbation=step.name,
        colour=colour,
        what=f"{what}{said}",
        evidence="process",
        exact=True,
    )


def _death(step: StepWindow, worker: str, how: str, victims: Sequence[RequestEnded]) -> HarmFinding:
    ids = [request.request for request in victims]
    attributions = [attribution for key in ids for attribution in step.attributions(key)]
    attribution = min(attributions, key=lambda attribution: not attribution.exact, default=None)
    pid = next((hello.pid for hello in step.timeline.workers if hello.worker == worker), 0)
    at = f" while it worked on {listed(ids)}" if ids else " while it was idle"
    since = f", hit by {attribution.perturbation}" if attribution else ""
    return HarmFinding(
        kind=DIED,
        perturbation=step.name,
        colour=RED,
        what=f"worker {worker} (pid {pid}) {how}{at}{since}",
        evidence=attribution.evidence if attribution else "stream",
        exact=True,
        worker=worker,
        requests=tuple(ids[:MOST_NAMED]),
        hit_by=attribution.perturbation if attribution else "",
    )
