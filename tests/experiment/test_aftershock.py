"""How long the load goes on after a perturbation, by what its clients see."""

from __future__ import annotations

from seism.experiment.aftershock import Aftershock, Calm, client_request
from seism.journal import COMPLETE, NOTHING, ClientRequest
from seism.verdict.rules import RouteRules, Rules

ROUTES = ("GET /", "GET /items/7")


def seen(at: float, status: int | None = 200, route: str = "GET /") -> ClientRequest:
    return client_request(
        ["id", route, at, 0.01, COMPLETE if status else NOTHING, status, "", "", "", None]
    )


class Time:
    """A clock that is set by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def calm() -> Calm:
    found = Calm()
    for route in ROUTES:
        for _ in range(40):
            found.add(seen(1.0, route=route))
    return found


def aftershock(clock: Time) -> Aftershock:
    own = Rules(route={"GET /items/{id}": RouteRules(recover_s=2)})
    return Aftershock(calm(), own, ROUTES, clock)


def test_it_is_over_once_each_route_is_as_before() -> None:
    clock = Time()
    watch = aftershock(clock)
    assert watch.broken() == list(ROUTES)
    for n in range(8):
        clock.now += 0.1
        watch.add(seen(clock.now, 503 if n < 3 else 200))
        watch.add(seen(clock.now, 200, "GET /items/7"))
    assert watch.is_over()
    assert watch.broken() == []


def test_it_is_over_when_the_time_of_each_route_is() -> None:
    clock = Time()
    watch = aftershock(clock)
    for _ in range(8):
        clock.now += 0.1
        watch.add(seen(clock.now))
        watch.add(seen(clock.now, None, "GET /items/7"))
    assert not watch.is_over()
    clock.now += 2
    assert watch.is_over()
    assert watch.broken() == ["GET /items/7"]


def test_what_was_answered_before_the_end_says_nothing() -> None:
    clock = Time()
    watch = aftershock(clock)
    for route in ROUTES:
        for n in range(10):
            watch.add(seen(90 + n / 10, route=route))
    assert not watch.is_over()
