"""Attribution by the proxy's own counts, where one request runs at a time.

A client that no driver knows shows its requests to nobody. But where a single request is in flight,
and nobody else talks to the backend while none is, what its proxy sees is that request's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from seism.journal import Reached
from seism.verdict.client_view import took
from seism_middleware.contract import ALONE, Attribution, PerturbationBegan, RequestEnded

IDLE_SECONDS = 0.3
"""How long nothing must run to see whether somebody talks to a backend all the same."""


def quiet(reached: Sequence[Reached], requests: Iterable[RequestEnded]) -> frozenset[str]:
    """The backends to which nobody talks while no request runs; none where that was not tried."""
    return _seen(reached, requests, used=False)


def restless(reached: Sequence[Reached], requests: Iterable[RequestEnded]) -> frozenset[str]:
    """The backends to which somebody talks while no request runs."""
    return _seen(reached, requests, used=True)


def used(reached: Sequence[Reached], requests: Sequence[RequestEnded]) -> frozenset[str]:
    """The backends that were talked to from the last look before ``requests`` to the first one
    after them.
    """
    begin = min(request.began for request in requests)
    end = max(request.began + took(request) for request in requests)
    before = [each for each in reached if each.at <= begin]
    after = [each for each in reached if each.at >= end]
    if not before or not after:
        return frozenset()
    return frozenset(_grown(before[-1], after[0]))


def attributions(
    perturbations: Iterable[PerturbationBegan],
    requests: Iterable[RequestEnded],
    backends: frozenset[str],
) -> Iterator[Attribution]:
    """Those of ``perturbations`` of ``backends`` that began while exactly one request ran."""
    requests = list(requests)
    for record in perturbations:
        if record.proxy not in backends:
            continue
        running = [each for each in requests if each.began <= record.at <= each.began + took(each)]
        if len(running) == 1:
            yield Attribution(record.perturbation, running[0].request, ALONE, exact=True)


def _seen(
    reached: Sequence[Reached], requests: Iterable[RequestEnded], *, used: bool
) -> frozenset[str]:
    requests = list(requests)
    idle = [
        (first, last)
        for first, last in pairwise(reached)
        if last.at - first.at >= IDLE_SECONDS
        and not any(
            each.began <= last.at and each.began + took(each) >= first.at for each in requests
        )
    ]
    if not idle:
        return frozenset()
    busy = {backend for first, last in idle for backend in _grown(first, last)}
    return frozenset(busy if used else idle[0][0].proxies.keys() - busy)


def _grown(first: Reached, last: Reached) -> Iterator[str]:
    return (name for name, seen in last.proxies.items() if seen != first.proxies.get(name))
