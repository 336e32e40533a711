"""Perturbations of connections that were not made yet, by the connects that failed meanwhile.

A driver in C shows neither the descriptor nor the port of a connection that it could not finish: a
reset of its first bytes has a client that nobody knows. But the request whose connect to that
backend failed in the same time is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from seism_middleware.contract import CONNECT, Attribution, PerturbationBegan, RequestEnded

HOW = "failed"
"""``Attribution.how`` of what is found here."""


def attributions(
    perturbations: Iterable[PerturbationBegan], requests: Iterable[RequestEnded]
) -> Iterator[Attribution]:
    """Each of ``perturbations``, to the requests that failed to connect while it began.

    Exact where that is a single one. Each of several was hit by one of the perturbations, too.
    """
    failed = [each for each in requests if each.refused]
    for record in perturbations:
        found = [
            each
            for each in failed
            if each.began <= record.at <= each.began + each.duration
            and any(refused.backend == record.proxy for refused in each.refused)
        ]
        for request in found:
            yield Attribution(
                record.perturbation, request.request, CONNECT, exact=len(found) == 1, how=HOW
            )


def is_certain(attribution: Attribution) -> bool:
    """Whether its request was hit, although it may not be known by which perturbation."""
    return attribution.exact or attribution.how == HOW
