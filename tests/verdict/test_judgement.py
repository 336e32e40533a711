"""The verdict engine on journals whose right verdict is known."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seism.verdict.judgement import judge
from seism.verdict.result import (
    AMBER,
    EARLIER,
    GREEN,
    NOT_COVERED,
    RED,
    SEVERITY,
    UNSURE,
    Judgement,
)
from seism.verdict.rules import RouteRules, Rules
from seism_middleware.contract import Attribution, Clock, Hello, PerturbationBegan
from tests.story import Story

SLOW = ("db slow", "db", "latency")
DOWN = ("db down", "db", "down")


def one_step(
    during: dict[str, object], *, attributed: bool = True, rules: Rules | None = None
) -> Judgement:
    """A run with one perturbation whose one hit request ended as ``during`` says."""
    story = Story(SLOW, rules=rules)
    story.phase("steady")
    story.requests(10)
    story.phase("during", 0)
    request = story.request(**during)  # type: ignore[arg-type]
    story.perturb(0, *([request] if attributed else []))
    story.phase("after", 0)
    story.requests(10)
    return judge(story.end())


@pytest.mark.parametrize(
    ("during", "colour", "reason"),
    [
        ({"status": 200}, GREEN, ""),
        ({"status": 302}, GREEN, ""),
        ({"status": 503}, GREEN, ""),
        ({"status": 503, "retry_after": False}, AMBER, "without Retry-After"),
        ({"status": 503, "errors": ()}, AMBER, "without an error in the log"),
        ({"status": 200, "duration": 1.2}, AMBER, "slower than the deadline"),
        ({"status": 503, "duration": 1.2}, AMBER, "slower than the deadline"),
        ({"status": 500, "exception": "builtins.KeyError"}, RED, "500 (builtins.KeyError)"),
        ({"status": 502}, RED, "502"),
        ({"status": 404}, RED, "404, which the control run never gave"),
        ({"status": 200, "body": "truncated"}, RED, "truncated body"),
        ({"status": 503, "body": "truncated"}, RED, "truncated body"),
        ({"status": None}, RED, "no response"),
    ],
)
def test_one_request(during: dict[str, object], colour: str, reason: str) -> None:
    judgement = one_step(during)
    cell = judgement.cell("GET /", "db slow")
    assert cell is not None
    assert (cell.colour, judgement.colour) == (colour, colour)
    assert cell.exact == 1
    assert reason in "; ".join(cell.reasons)
    assert bool(cell.reasons) == (colour != GREEN)
    assert judgement.exit_code() == (1 if colour == RED else 0)
    assert judgement.exit_code(strict=True) == (0 if colour == GREEN else 1)


def test_not_touched_is_not_green() -> None:
    judgement = one_step({"status": 200}, attributed=False)
    assert judgement.matrix == {"GET /": {"db slow": NOT_COVERED}}


def overlapping(status: int) -> Judgement:
    """A run in which a perturbation is attributed to a request as possible only."""
    story = Story(SLOW)
    story.phase("steady")
    story.requests(10)
    story.phase("during", 0)
    story.perturb(0, story.request(status=status), exact=False)
    story.phase("after", 0)
    story.requests(10)
    return judge(story.end())


def test_what_is_only_possibly_hit_is_unsure() -> None:
    judgement = overlapping(200)
    (cell,) = judgement.cells
    assert (cell.colour, cell.exact, cell.possible) == (UNSURE, 0, 1)
    assert cell.reasons == ("1 request possibly hit, none for certain",)
    assert (judgement.colour, judgement.exit_code()) == (UNSURE, 4)


@pytest.mark.parametrize(("status", "colour", "code"), [(503, GREEN, 0), (500, RED, 1)])
def test_an_answer_that_the_control_run_never_gave_is_judged(
    status: int, colour: str, code: int
) -> None:
    """Only possibly hit, but it answers otherwise: it was."""
    judgement = overlapping(status)
    assert (judgement.cells[0].colour, judgement.exit_code()) == (colour, code)


def test_unsure_beside_green_is_a_warning() -> None:
    story = Story(SLOW)
    story.phase("steady")
    story.requests(10)
    story.requests(10, "GET /other")
    story.phase("during", 0)
    story.perturb(0, story.request())
    story.perturb(0, story.request("GET /other"), exact=False)
    story.phase("after", 0)
    story.requests(10)
    story.requests(10, "GET /other")
    judgement = judge(story.end())
    assert judgement.matrix == {"GET /": {"db slow": GREEN}, "GET /other": {"db slow": UNSURE}}
    assert (judgement.colour, judgement.exit_code(strict=True)) == (GREEN, 0)


def unattributed(failing: int, usual: int = 0, before: int = 80) -> Judgement:
    """16 requests that nothing hit, ``failing`` of them, after ``usual`` failures of ``before``."""
    story = Story(SLOW)
    story.phase("steady")
    story.requests(10, "GET /well")
    story.requests(usual, status=500)
    story.requests(before - usual)
    story.phase("during", 0)
    story.perturb(0)
    story.requests(16 - failing)
    story.requests(failing, status=500)
    story.phase("after", 0)
    story.requests(10)
    return judge(story.end())


def test_failures_without_an_attribution_are_red_and_only_possible() -> None:
    judgement = unattributed(8)
    assert judgement.colour == RED
    assert len(judgement.cases) == 8
    assert {(case.colour, case.exact) for case in judgement.cases} == {(RED, False)}


def test_a_failure_that_may_be_chance_is_not_blamed() -> None:
    judgement = unattributed(1)
    cell = judgement.cells[0]
    assert (cell.colour, judgement.cases) == (UNSURE, ())
    (why,) = cell.reasons
    assert why.startswith("1 of 16 requests that nothing is known to have hit went wrong")
    assert why.endswith("0 of 80 did without a perturbation")


def test_a_failure_at_the_own_rate_of_its_route_is_nothing() -> None:
    judgement = unattributed(2, usual=8)
    cell = judgement.cells[0]
    assert (cell.colour, judgement.cases) == (NOT_COVERED, ())


def test_many_cells_find_no_more_by_chance() -> None:
    """Each alone would be significant, all together are what chance gives to some of many."""
    story = Story(*((f"slow {n}", "db", "latency") for n in range(12)))
    story.phase("steady")
    story.requests(60)
    for step in range(12):
        story.phase("during", step)
        story.perturb(step)
        story.requests(12)
        story.requests(4, status=500)
        story.phase("after", step)
        story.requests(4)
    alone = judge(story.end())
    assert {cell.colour for cell in alone.cells} == {UNSURE}


def test_rules_per_route() -> None:
    gateway = Rules(route={"GET /": RouteRules(allow=(502, 504), retry_after=False)})
    assert one_step({"status": 502}, rules=gateway).colour == GREEN
    assert one_step({"status": 503, "retry_after": False}, rules=gateway).colour == GREEN
    assert one_step({"status": 500}, rules=gateway).colour == RED
    patient = Rules(route={"GET /": RouteRules(deadline_ms=5000)})
    assert one_step({"status": 200, "duration": 1.2}, rules=patient).colour == GREEN


def test_statuses_of_the_steady_state_are_green() -> None:
    story = Story(SLOW)
    story.phase("steady")
    story.requests(10, status=404)
    story.phase("during", 0)
    story.perturb(0, story.request(status=404))
    story.phase("after", 0)
    story.requests(10, status=404)
    assert judge(story.end()).matrix == {"GET /": {"db slow": GREEN}}


def test_the_deadline_grows_with_the_control_run() -> None:
    story = Story(SLOW)
    story.phase("steady")
    story.requests(98, duration=0.05)
    story.requests(2, duration=0.3)
    story.phase("during", 0)
    story.perturb(0, story.request(duration=2.9))
    story.phase("after", 0)
    story.requests(3)
    judgement = judge(story.end())
    assert judgement.steady.deadline == {"GET /": pytest.approx(3.0)}
    assert judgement.colour == GREEN


def test_never_recovered_is_blamed_once() -> None:
    """A route that stays broken is red where it broke, and not covered from then on."""
    rules = Rules(recover_s=0.05)
    story = Story(DOWN, SLOW, ("db reset", "db", "reset_peer"), rules=rules)
    story.phase("steady")
    story.requests(10)
    story.requests(10, "GET /well")
    for step in range(3):
        story.phase("during", step)
        story.perturb(step, story.request(status=503), story.request("GET /well", 503))
        story.phase("after", step)
        story.requests(10, status=503)
        story.requests(10, "GET /well")
    judgement = judge(story.end())
    assert judgement.matrix == {
        "GET /": {"db down": RED, "db slow": NOT_COVERED, "db reset": NOT_COVERED},
        "GET /well": {"db down": GREEN, "db slow": GREEN, "db reset": GREEN},
    }
    assert {case.perturbation for case in judgement.cases} == {"db down"}
    cell = judgement.cell("GET /", "db reset")
    assert cell is not None
    assert cell.reasons == ("still broken since db down",)
    cell = judgement.cell("GET /", "db down")
    assert cell is not None
    assert cell.worst is not None
    assert (cell.worst.phase, cell.worst.role, cell.worst.hit_by) == ("after", EARLIER, "p1")


def test_what_weakens_the_attributions_is_said() -> None:
    story = Story(SLOW)
    story.add(Hello("w", 1, Clock("clock", 0), "asgi", blind=("uvloop",)))
    story.phase("steady")
    story.requests(10)
    story.phase("during", 0)
    story.perturb(0, story.request())
    story.perturb(0)  # bytes of nobody that is known
    story.phase("after", 0)
    story.requests(10)
    assert judge(story.end()).warnings == (
        "the app has loaded uvloop: perturbations cannot be attributed through it",
        "1 of 2 perturbations hit no known request",
    )


def test_connections_left_behind() -> None:
    def run(left: int) -> Judgement:
        story = Story(SLOW)
        story.phase("steady")
        story.requests(10)
        story.requests(10, "GET /leak")
        story.phase("during", 0)
        failed = [story.request("GET /leak", 503) for _ in range(6)]
        on = [story.perturb(0, request) for request in failed]
        late = [story.request(duration=3) for _ in range(6)]
        pooled = [(story.perturb(0, request), request) for request in late]
        elsewhere = [("p99", story.request(status=503)) for _ in range(6)]
        story.perturb(0, elsewhere[0][1])
        story.phase("after", 0)
        story.requests(10)
        story.requests(10, "GET /leak")
        reused = story.request("GET /leak")
        story.census(
            *zip(on[:left], failed, strict=False),
            *((key, reused) for key in on[left:]),
            *pooled,  # slow, but it went well: back in the pool
            *elsewhere,  # to another backend, which was not perturbed
        )
        return judge(story.end())

    matrix = run(2).matrix
    assert matrix == {"GET /": {"db slow": AMBER}, "GET /leak": {"db slow": GREEN}}
    judgement = run(3)
    assert judgement.matrix == {"GET /": {"db slow": AMBER}, "GET /leak": {"db slow": RED}}
    cell = judgement.cell("GET /leak", "db slow")
    assert cell is not None
    assert cell.reasons == ("3 backend connections of its failed requests stay open",)
    assert cell.worst is not None
    assert (cell.worst.hit_by, cell.worst.role, cell.worst.exact) == ("p1", "hit", True)
    assert cell.worst.what.startswith("latency on db, from byte 0 of the connection from 127.")


@pytest.mark.parametrize(("grown", "colour"), [(60, GREEN), (70, RED)])
def test_memory_that_keeps_growing(grown: int, colour: str) -> None:
    story = Story(SLOW)
    story.phase("steady")
    story.requests(10)
    story.census(rss=100_000_000)
    story.phase("during", 0)
    story.perturb(0, story.request())
    story.phase("after", 0)
    story.requests(10)
    story.census(rss=100_000_000 + grown * 1_000_000)
    judgement = judge(story.end())
    assert judgement.colour == colour
    assert bool(judgement.findings) == (colour == RED)


def test_steady_state_not_met() -> None:
    story = Story(SLOW)
    story.phase("steady")
    story.requests(9)
    story.request(status=500)
    judgement = judge(story.end())
    assert not judgement.steady.met
    assert "GET /: 500" in judgement.steady.reason
    assert judgement.exit_code() == 3


def test_an_app_that_is_not_wrapped_is_not_green() -> None:
    story = Story(SLOW)
    story.phase("steady")
    story.load(100)
    judgement = judge(story.end())
    assert judgement.exit_code() == 3
    assert "wrapped" in judgement.steady.reason


def test_never_fired_has_an_exit_code() -> None:
    story = Story(SLOW, DOWN)
    story.phase("steady")
    story.requests(10)
    for step in range(2):
        story.phase("during", step)
        if step:
            story.perturb(step)  # the backend was down, and nobody was cut or refused
        story.requests(10)
        story.phase("after", step)
        story.requests(10)
    judgement = judge(story.end())
    assert judgement.never_fired == ("db slow", "db down")
    assert judgement.exit_code() == 4


@pytest.mark.parametrize("how", ["missing", "load"])
def test_dropped_observations_have_an_exit_code(how: str) -> None:
    story = Story(DOWN)
    story.phase("steady")
    story.requests(10)
    story.phase("during", 0)
    story.perturb(0, story.request(status=503))
    if how == "missing":
        story.missing(2)
    else:
        story.load(3)
    story.phase("after", 0)
    story.requests(10)
    judgement = judge(story.end())
    assert judgement.dropped == 2
    assert judgement.exit_code() == 4


def front(
    during: dict[str, Any], *, exact: bool = True, actions: dict[str, int] | None = None
) -> Judgement:
    """One request while its client's line is perturbed."""
    story = Story(("half", "front", "limit_data"))
    story.worker("front", "http")
    story.phase("steady")
    story.requests(10)
    story.phase("during", 0)
    story.perturb(0, story.request(**during), exact=exact)
    tally = {"sent": 4, "twice": 0, "lost": 0, "unknown": 0, **(actions or {})}
    story.load(4, no_response=3, actions={"POST /orders": tally})
    story.phase("after", 0)
    story.requests(10)
    return judge(story.end())


def test_a_response_that_was_cut_off_in_front_is_not_the_app_s_fault() -> None:
    for body in ("truncated", "none"):
        during = {"status": 200 if body == "truncated" else None, "body": body}
        assert front(during).exit_code(strict=True) == 0
        # Where it is only possible, it may be the app's.
        assert front(during, exact=False).exit_code() == 1
    assert front({"status": 500}).exit_code() == 1
    assert one_step({"status": 200, "body": "truncated"}).exit_code() == 1


@pytest.mark.parametrize(
    ("actions", "finding"),
    [
        ({"twice": 2}, "were done more than once"),
        ({"lost": 2}, "were acknowledged and never done"),
        ({"unknown": 2}, "are in doubt: the app did not say how often they were done"),
        ({}, ""),
    ],
)  # fmt: skip
def test_actions_are_done_once(actions: dict[str, int], finding: str) -> None:
    judgement = front({"status": 200}, actions=actions)
    found = (f"half: during it 2 of 4 actions POST /orders {finding}",) if finding else ()
    assert judgement.findings == found
    assert judgement.exit_code() == (1 if finding else 0)


def test_an_action_that_was_done_twice_is_red_where_it_was_hit() -> None:
    tally = {"sent": 3, "twice": 1, "lost": 0, "unknown": 0}
    story = Story(SLOW)
    story.phase("steady")
    story.requests(10, "POST /pay/{what}")
    story.requests(10)
    story.phase("during", 0)
    story.perturb(0, story.request("POST /pay/{what}"), story.request())
    story.load(3, actions={"POST /pay/it": tally})
    story.phase("after", 0)
    story.requests(10, "POST /pay/{what}")
    judgement = judge(story.end())
    assert judgement.matrix == {"POST /pay/{what}": {"db slow": RED}, "GET /": {"db slow": GREEN}}
    cell = judgement.cell("POST /pay/{what}", "db slow")
    assert cell is not None and cell.worst is not None
    assert cell.reasons == ("1 of 3 actions were done more than once",)
    assert (cell.worst.exact, cell.worst.reason) == (True, cell.reasons[0])
    assert "1 of 3 actions POST /pay/it were done more than once" in judgement.findings[0]


def test_from_in_front_no_log_is_seen_and_none_is_missed() -> None:
    assert front({"status": 503, "errors": ()}).exit_code(strict=True) == 0
    assert front({"status": 503, "retry_after": False}).exit_code(strict=True) == 1


def test_requests_that_no_worker_saw_are_red() -> None:
    story = Story(DOWN)
    story.phase("steady")
    story.requests(10)
    story.phase("during", 0)
    story.perturb(0, story.request(status=503))
    story.load(4, no_response=3)
    story.phase("after", 0)
    story.requests(10)
    judgement = judge(story.end())
    assert judgement.exit_code() == 1
    assert "3 requests got no response" in judgement.findings[0]


def test_a_run_that_was_cut_short_is_not_proven() -> None:
    story = Story(SLOW)
    story.phase("steady")
    story.requests(10)
    judgement = judge(story.entries)
    assert judgement.incomplete == "the journal ends before the plan does"
    assert (judgement.exit_code(), judgement.findings) == (4, ())


def test_a_request_that_died_counts_for_its_pattern() -> None:
    story = Story(SLOW)
    story.phase("steady")
    story.requests(10, "GET /items/{id}")
    story.phase("during", 0)
    story.perturb(0, story.request("GET /items/{id}", None))
    story.phase("after", 0)
    story.requests(10, "GET /items/{id}")
    assert judge(story.end()).matrix == {"GET /items/{id}": {"db slow": RED}}


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["GET /a", "GET /b"]),
            st.sampled_from([200, 404, 500, 503, None]),
            st.floats(0, 5),
            st.booleans(),
        ),
        max_size=20,
    )
)
def test_a_cell_is_as_bad_as_its_worst_request(
    seen: list[tuple[str, int | None, float, bool]],
) -> None:
    story = Story(SLOW)
    story.phase("steady")
    story.requests(5, "GET /a")
    story.requests(5, "GET /b")
    story.phase("during", 0)
    for route, status, duration, attributed in seen:
        request = story.request(route, status, duration=duration)
        if attributed:
            story.perturb(0, request)
    story.phase("after", 0)
    story.requests(5, "GET /a")
    story.requests(5, "GET /b")
    judgement = judge(story.end())
    for cell in judgement.cells:
        cases = [case for case in judgement.cases if case.route == cell.route]
        worst = max((SEVERITY[case.colour] for case in cases), default=SEVERITY[GREEN])
        covered = any(attributed for route, _, _, attributed in seen if route == cell.route)
        if cell.colour == UNSURE:
            assert not cases
            continue
        expected = worst if cases or covered else SEVERITY[NOT_COVERED]
        assert SEVERITY[cell.colour] == expected


def pair(*hit: str) -> Judgement:
    """Two perturbations at once, of which ``hit`` had an effect."""
    story = Story(SLOW)
    story.plan[0]["partner"] = {"backend": "cache", "type": "latency", "toxic": "second"}
    story.phase("steady")
    story.requests(10)
    story.phase("during", 0)
    request = story.request(status=500)
    for number, backend in enumerate(hit):
        toxic = {"db": "db slow", "cache": "second"}[backend]
        story.add(PerturbationBegan(f"q{number}", backend, toxic, "latency", story.now, client="c"))
        story.add(Attribution(f"q{number}", request, "ledger", True))
    story.phase("after", 0)
    story.requests(10)
    return judge(story.end())


def test_a_pair_fires_as_one() -> None:
    assert pair("db", "cache").never_fired == ()
    assert pair("db", "cache").matrix == {"GET /": {"db slow": RED}}
    assert pair("db").never_fired == pair("cache").never_fired == ("db slow",)
