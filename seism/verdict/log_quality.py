"""What a failure says: when to come back, and in the log, what failed.

A failure belongs in the log once, at error level, naming the backend, without credentials.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from seism.verdict.result import listed
from seism.verdict.rules import Applied
from seism.verdict.timeline import route_of
from seism_middleware.contract import RequestEnded


def log_misses(request: RequestEnded, backend: str) -> dict[str, str]:
    """What is wrong with what ``request`` logged of its failure: rule -> in words.

    An exception that leaves the app is logged by its server (uvicorn, gunicorn and waitress do so),
    once the middleware has told of the request: nothing is known to be missing then.
    """
    errors = request.errors
    misses: dict[str, str] = {}
    if not errors and request.exception:
        return misses
    if not errors:
        misses["error_log"] = "without an error in the log"
    elif backend and not any(backend in error.backends for error in errors):
        misses["log_backend"] = f"with an error in the log that does not name {backend}"
    if len(errors) > 1:
        misses["log_once"] = "with more than one error in the log"
    if any(error.credentials for error in errors):
        misses["log_credentials"] = "with credentials in the log"
    return misses


def missing(
    request: RequestEnded, rules: Applied, backend: str, *, sees_logs: bool = True
) -> list[str]:
    """Why the 503 of ``request`` is not green, in words; empty if it is.

    Where nobody ``sees_logs``, as in front of an app without the middleware, none is missed.
    """
    wrong = []
    if rules.retry_after and not request.retry_after:
        wrong.append("without Retry-After")
    misses = log_misses(request, backend) if sees_logs else {}
    return wrong + [text for rule, text in misses.items() if getattr(rules, rule)]


@dataclass(frozen=True, slots=True)
class LogMiss:
    """Failures of one route under one perturbation that the log tells of in the same wrong way."""

    step: str
    route: str
    text: str
    failures: int


def found(failed: Iterable[RequestEnded], backend: str, step: str) -> Iterator[LogMiss]:
    """One for each route and way, of all that ``failed`` under the perturbation ``step``."""
    counts = Counter(
        (route_of(request), text)
        for request in failed
        for text in log_misses(request, backend).values()
    )
    for (route, text), count in sorted(counts.items()):
        yield LogMiss(step.removesuffix(f": {route}"), route, text, count)


def lines(misses: Iterable[LogMiss]) -> Iterator[str]:
    """One for each route and way, however many perturbations show it."""
    alike: dict[tuple[str, str], list[LogMiss]] = {}
    for each in misses:
        alike.setdefault((each.route, each.text), []).append(each)
    for (route, text), group in alike.items():
        count = sum(each.failures for each in group)
        steps = listed(list(dict.fromkeys(each.step for each in group)), 3)
        yield f"{route}: {count} failure{'s' * (count > 1)} {text}, under {steps}"
