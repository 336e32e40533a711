"""What one request deserves by itself."""

from __future__ import annotations

from typing import Any

import pytest

from seism.verdict.request import Opinions, opinion
from seism.verdict.rules import Rules
from seism_middleware.contract import Harm, LoggedError, RequestEnded

SAID = (LoggedError("app", "app:1"),)


def ended(status: int | None, **more: Any) -> RequestEnded:
    body = more.pop("body", "complete")
    duration = more.pop("duration", 0.1)
    return RequestEnded("r1", "GET", "/x", 1.0, duration, status, body, **more)


@pytest.mark.parametrize(
    ("request_", "colour", "reason"),
    [
        (ended(200), "green", ""),
        (ended(302), "green", ""),
        (ended(503, retry_after=True, errors=SAID), "green", ""),
        (ended(503, retry_after=True), "amber", "503 without an error in the log"),
        (ended(503, errors=SAID), "amber", "503 without Retry-After"),
        (ended(200, duration=1.5), "amber", "slower than the deadline of 1.0 s"),
        (ended(500), "red", "500"),
        (ended(502), "red", "502"),
        (ended(500, exception="ValueError"), "red", "500 (ValueError)"),
        (ended(200, body="truncated"), "red", "200 with a truncated body"),
        (ended(None, body="none"), "red", "no response"),
    ],
)
def test_by_the_default_rules(request_: RequestEnded, colour: str, reason: str) -> None:
    found = opinion(request_, Rules())
    assert (found.request, found.colour, found.reason) == ("r1", colour, reason)


def test_a_route_may_have_rules_of_its_own() -> None:
    rules = Rules(retry_after=False, error_log=False, deadline_ms=50)
    assert opinion(ended(503, duration=0.01), rules).colour == "green"
    assert opinion(ended(200), rules).reason == "slower than the deadline of 0.05 s"


@pytest.mark.parametrize("early", [False, True], ids=["harm last", "harm first"])
@pytest.mark.parametrize(
    ("harm", "colour"),
    [
        (Harm("crosstalk", "r1", True, "cache", "127.0.0.1:1", "r0"), "red"),
        (Harm("sentinel", "r1", True, other="r0"), "red"),
        (Harm("crosstalk", "r1", False, "cache", "127.0.0.1:1", "r0"), "green"),
        (Harm("abandoned", "r1", True, "cache", "127.0.0.1:1"), "green"),
        (Harm("crosstalk", "r2", True, "cache", "127.0.0.1:1", "r0"), "green"),
    ],
)
def test_wrong_data_is_red_whatever_the_status(harm: Harm, colour: str, early: bool) -> None:
    opinions = Opinions(Rules())
    records = [harm, ended(200)] if early else [ended(200), harm]
    found = [each for record in records for each in opinions.of(record) if each.request == "r1"]
    assert found[-1].colour == colour
    assert ("of request r0" in found[-1].reason) == (colour == "red")
