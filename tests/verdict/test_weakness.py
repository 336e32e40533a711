"""Weaknesses: what belongs together, what does not, and what stays the same."""

from __future__ import annotations

from dataclasses import replace

import pytest

from seism.model import PlannedStep, ToxicSpec
from seism.registry import load
from seism.report import advice
from seism.verdict.result import (
    AMBER,
    ERROR,
    GREEN,
    HANG,
    LEAKED,
    ODD,
    RED,
    SLOW,
    STALE,
    UNRECOVERED,
    UNUSED,
    Case,
    Cell,
    HarmFinding,
    Judgement,
)
from seism.verdict.weakness import EVENTS, FINDING, TITLES, Weakness, weaknesses
from tests.report import known

REDIS = "redis.exceptions."
OWN = ("site-packages/pyramid/router.py:9 call", "shop/cart.py:41 show")
LIBRARY = ("site-packages/redis/client.py:559 execute_command",)


def case(
    route: str = "GET /a", under: str = "cache-down", kind: str = ERROR, **values: object
) -> Case:
    """A request that went wrong in the app's ``show``."""
    given = {
        "request": f"{route} {under} {kind} {len(values)}",
        "colour": RED,
        "status": 500,
        "frames": OWN + LIBRARY,
        "exception": f"{REDIS}ConnectionError",
        "exact": True,
        **values,
    }
    return Case(
        route=route, perturbation=under, phase="during", reason=kind, duration=0.1, kind=kind,
        **given,
    )  # type: ignore[arg-type]  # fmt: skip


def judged(
    *cases: Case, harms: tuple[HarmFinding, ...] = (), findings: tuple[str, ...] = ()
) -> Judgement:
    """A judgement with a cell for each route and perturbation of ``cases``."""
    worst = {(each.route, each.perturbation): each for each in reversed(cases)}
    cells = tuple(
        Cell(route, name, each.colour, (each.reason,), 9, 9, 0, each)
        for (route, name), each in worst.items()
    )
    return replace(
        known.green(), colour=RED, cells=cells, cases=cases, harms=harms, findings=findings
    )


def only(judgement: Judgement) -> Weakness:
    (found,) = weaknesses(judgement)
    return found


def test_routes_and_perturbations_that_fail_in_one_place_are_one() -> None:
    found = only(
        judged(
            case("GET /a", "cache-down"),
            case("GET /b", "cache-reset", exception=f"{REDIS}TimeoutError"),
            case("GET /a", "cache-reset"),
        )
    )
    assert found.routes == ("GET /a", "GET /b")
    assert found.perturbations == ("cache-down", "cache-reset")
    assert found.place == "shop/cart.py:41 show"
    assert found.exception == f"{REDIS}ConnectionError"
    assert (found.library, found.times, found.backend) == ("redis", 3, "cache")
    assert found.title == (
        "2 routes answer 500 when cache is down or resets a connection (ConnectionError)"
    )


@pytest.mark.parametrize(
    "other",
    [
        case("GET /b", "database-down"),
        case("GET /b", frames=("shop/cart.py:90 pay", *LIBRARY)),
        case("GET /b", frames=("shop/items.py:41 show", *LIBRARY)),
        case("GET /b", exception="KeyError"),
        case("GET /b", kind=HANG),
    ],
)
def test_another_backend_place_exception_or_kind_is_another(other: Case) -> None:
    one, two = weaknesses(judged(case(), other))
    assert one.fingerprint != two.fingerprint


def test_lines_requests_and_figures_do_not_change_the_fingerprint() -> None:
    moved = ("site-packages/pyramid/router.py:77 call", "shop/cart.py:61 show")
    one = only(judged(case()))
    two = only(judged(case("GET /b", "cache-reset", frames=moved + LIBRARY, request="w9-1")))
    assert one.fingerprint == two.fingerprint


def test_what_has_no_place_joins_the_only_one_that_has() -> None:
    bare = case("GET /b", frames=(), exception="")
    assert only(judged(case(), bare)).times == 2
    other = case("GET /c", frames=("shop/cart.py:90 pay",))
    assert len(weaknesses(judged(case(), other, bare))) == 3


def test_without_the_apps_own_code_the_backend_is_the_cause() -> None:
    cases = [case(f"GET /{n}", frames=LIBRARY, exception="") for n in range(9)]
    assert only(judged(*cases)).title == "9 routes answer 500 when cache is down"


def test_an_odd_answer_is_named_by_its_status() -> None:
    (log_out,) = weaknesses(judged(case(kind=ODD, status=302, exception="")))
    assert log_out.title == "GET /a answers 302 instead of the usual answer when cache is down"
    (broken,) = weaknesses(judged(case(kind=ODD, status=200, exception="")))
    assert broken.title == "GET /a answers something else than usual when cache is down"


def test_many_ways_are_counted() -> None:
    ways = ("cache-down", "cache-reset", "cache-slow")
    found = only(judged(*(case(under=each) for each in ways)))
    assert found.title.startswith(
        "GET /a answers 500 when cache is down, resets a connection, or in 1 other way"
    )


def test_a_title_says_what_both_ways_have_in_common_once() -> None:
    found = only(judged(case(under="cache-down"), case(under="cache-slow")))
    assert found.title.startswith("GET /a answers 500 when cache is down or slow")


def test_slow_and_hung_is_one_thing_to_fix() -> None:
    slow = case(kind=SLOW, colour=AMBER, status=200, exception="", frames=())
    hung = case(kind=HANG, under="cache-slow", status=None, exception="", frames=())
    harm = HarmFinding(
        HANG, "cache-slow", RED, "request 1 ran on", "census", True, "cache", requests=("7",)
    )
    found = only(judged(slow, hung, harms=(harm,)))
    assert (found.kind, found.colour, found.times) == (HANG, RED, 3)
    assert found.title.startswith("GET /a waits too long for cache when cache is")
    assert "cache" not in found.title.partition(" when cache ")[2]


def test_a_leak_is_one_weakness_whatever_tells_of_it() -> None:
    leaks = tuple(
        HarmFinding(LEAKED, "database-slow", RED, "stays open", "census", True, "database",
                    requests=(f"w1-{number}",))
        for number in range(6)
    )  # fmt: skip
    told = case("GET /export", "database-slow", LEAKED, request="w1-0", status=200, exception="")
    found = only(judged(told, harms=leaks))
    assert found.title == "GET /export leaks connections to database when database is slow"
    assert found.times == 6


def test_a_backend_that_is_not_asked_any_more_and_no_recovery_are_one() -> None:
    late = case(kind=UNRECOVERED, request="1")
    unused = case(kind=UNUSED, request="2", colour=AMBER)
    found = only(judged(late, unused))
    assert (found.kind, found.colour, found.times) == (UNRECOVERED, RED, 2)
    elsewhere = case("GET /b", kind=UNUSED, request="3", colour=AMBER)
    assert len(weaknesses(judged(late, elsewhere))) == 2


def test_two_routes_that_leak_are_two() -> None:
    leaks = (case("GET /a", kind=LEAKED), case("GET /b", kind=LEAKED))
    assert {each.routes for each in weaknesses(judged(*leaks))} == {("GET /a",), ("GET /b",)}


def test_a_request_that_failed_on_a_broken_connection_is_stale() -> None:
    failed = case(under="cache-down", request="w1-4")
    stale = HarmFinding(
        STALE, "cache-down", AMBER, "1 request failed", "ledger", True, "cache", requests=("w1-4",)
    )
    found = only(judged(failed, harms=(stale,)))
    assert (found.kind, found.colour, found.times) == (STALE, RED, 1)


def test_other_answers_are_of_their_route() -> None:
    found = weaknesses(judged(case("GET /a", kind=ODD), case("GET /b", kind=ODD)))
    assert {each.routes for each in found} == {("GET /a",), ("GET /b",)}


def test_findings_differ_by_their_words_alone() -> None:
    lines = (
        "the memory of worker 3fa2bc11 grew by 70 MB",
        "the memory of worker 99abcdef grew by 81 MB",
        "2 requests got no response",
    )
    found = weaknesses(judged(findings=lines))
    assert [each.times for each in found] == [2, 1]
    assert found[0].kind == FINDING


def test_everything_that_is_wrong_is_in_one_and_nothing_else_is() -> None:
    for judgement in known.ALL.values():
        found = weaknesses(judgement)
        wrong = {(c.route, c.perturbation) for c in judgement.cells if c.colour in (AMBER, RED)}
        assert {(c.route, c.perturbation) for each in found for c in each.cells} == wrong
        harms = [harm for harm in judgement.harms if harm.colour != GREEN]
        assert sum(len(each.harms) for each in found) == len(harms)
        assert sum(len(each.findings) for each in found) == len(judgement.findings)
        assert len({each.fingerprint for each in found}) == len(found)
        worst = [each.colour for each in found]
        assert (RED in worst) == (judgement.colour == RED)


def test_every_kind_has_a_title_and_advice_with_a_page() -> None:
    kinds = {*TITLES, FINDING}
    assert set(advice.GENERAL) == kinds
    assert set(advice.PAGES) == kinds
    for page in set(advice.PAGES.values()):
        assert (known.ROOT / "docs" / page).is_file()


def test_every_toxic_that_comes_with_seism_has_words() -> None:
    registry = load()
    faults = tuple(f"{name}_" for name in registry.protocols)
    toxics = {name for name in registry.toxics if not name.startswith(faults)}
    assert toxics - set(EVENTS) == {"noop", "slow_close"}


def test_the_advice_is_that_of_the_library() -> None:
    found = only(judged(case()))
    assert "redis.RedisError" in advice.advice(found).text
    hung = case(kind=HANG, frames=(), exception="", under="cache-slow")
    slow = next(w for w in weaknesses(judged(case(), hung)) if w.kind == HANG)
    assert "`socket_timeout`" in advice.advice(slow).text  # known from what else failed


def test_two_backends_at_once_are_both_named() -> None:
    pair = PlannedStep.from_dict(
        {
            **PlannedStep(ToxicSpec("down", "both"), "db", "t").to_dict(),
            "partner": {"backend": "cache", "type": "latency", "toxic": "u"},
        }
    )
    judgement = replace(judged(case(under="both")), plan=(pair,))
    assert only(judgement).backend == "db+cache"
    assert "when db is down and cache is slow" in only(judgement).title
