"""Consumers that come back after a perturbation, and those that do not."""

from __future__ import annotations

import pytest

from seism.journal import AppEnded, Consumer, Consumers
from seism.verdict.judgement import judge
from seism.verdict.result import AMBER, GREEN, NOT_COVERED, RED, Cell, Judgement
from seism.verdict.rules import Rules
from seism_middleware.contract import Census, OpenConnection
from tests.story import Story

ROUTE = "consumer BLPOP on db"


def waiting(port: int, *, waits: bool = True, since: float = 0.0, deaf: bool = False) -> Consumer:
    return Consumer("db", f"127.0.0.1:{port}", "BLPOP", False, waits, since, deaf)


def listening(port: int, *, deaf: bool = False) -> Consumer:
    return Consumer("db", f"127.0.0.1:{port}", "LISTEN orders", True, deaf=deaf)


def look(story: Story, *consumers: Consumer) -> None:
    story.now += 0.1
    story.add(Consumers(story.now, consumers))


def begun(*consumers: Consumer, steps: int = 1) -> Story:
    """``story.perturb`` affects the connection with port 1 first."""
    names = ("db restart", "db again")[:steps]
    story = Story(*((name, "db", "restart") for name in names), rules=Rules(recover_slow_s=2))
    story.phase("steady")
    story.requests(10)
    look(story, *consumers)
    return story


def step(story: Story, number: int, *looks: tuple[Consumer, ...], perturbs: bool = True) -> None:
    story.phase("during", number)
    hit = story.request()
    if perturbs:
        story.perturb(number, hit)
    story.phase("after", number)
    story.requests(10)
    for each in looks:
        look(story, *each)


def cell(judgement: Judgement, step: str = "db restart", route: str = ROUTE) -> Cell:
    found = judgement.cell(route, step)
    assert found is not None
    return found


def test_an_app_that_ends_takes_its_consumers_along() -> None:
    """Its end is said; not coming back is not a second thing to mend."""
    story = begun(waiting(1))
    step(story, 0, ())
    story.add(AppEnded(story.now, 0, 1, ("Error: connect ECONNREFUSED",)))
    judgement = judge(story.end())
    assert cell(judgement).colour == NOT_COVERED
    assert [harm.kind for harm in judgement.harms] == ["died"]


@pytest.mark.parametrize(
    ("after", "colour", "words"),
    [
        ((waiting(2),), GREEN, "there again within 0.2 s"),
        ((), RED, "the consumer of `BLPOP` on db did not come back after db restart"),
        ((waiting(1, deaf=True),), RED, "its connection is dead, and it has not noticed"),
        ((waiting(2, waits=False, since=1e6),), GREEN, "there again"),
        ((waiting(2, waits=False),), RED, "did not come back"),
    ],
)
def test_one_consumer(after: tuple[Consumer, ...], colour: str, words: str) -> None:
    story = begun(waiting(1))
    step(story, 0, after)
    judgement = judge(story.end())
    found = cell(judgement)
    assert found.colour == judgement.colour == colour
    assert words in (*found.reasons, *found.notes)[0]
    assert ROUTE in judgement.routes


@pytest.mark.parametrize(("after", "colour"), [((waiting(2),), GREEN), ((), RED)])
def test_a_sweep_s_cold_start_starts_consumers_too(
    after: tuple[Consumer, ...], colour: str
) -> None:
    story = begun(waiting(1))
    story.plan[0].update(probe=True, cold_start=True)
    step(story, 0, after)
    judgement = judge(story.end())
    assert cell(judgement).colour == colour
    route = judgement.cell("GET /", "db restart")
    assert route is not None and route.colour == GREEN


def test_other_probes_have_no_consumers() -> None:
    story = begun(waiting(1))
    story.plan[0]["probe"] = True
    step(story, 0, ())
    assert judge(story.end()).cell(ROUTE, "db restart") is None


def test_one_of_several() -> None:
    story = begun(listening(1), listening(2), waiting(3))
    step(story, 0, (listening(1), waiting(3)))
    judgement = judge(story.end())
    found = cell(judgement, route="consumer LISTEN orders on db")
    assert found.reasons[0].startswith(
        "1 of 2 consumers of `LISTEN orders` on db did not come back"
    )
    assert cell(judgement).colour == NOT_COVERED


def test_one_that_takes_long() -> None:
    story = begun(waiting(1))
    step(story, 0, *[()] * 20, (waiting(2),))
    assert cell(judge(story.end())).colour == AMBER


def test_one_that_is_gone_is_not_blamed_on_the_next() -> None:
    story = begun(waiting(1), steps=2)
    step(story, 0, ())
    step(story, 1, ())
    judgement = judge(story.end())
    assert cell(judgement).colour == RED
    assert cell(judgement, "db again").colour == NOT_COVERED


def test_after_a_restart_of_the_app_all_are_expected_again() -> None:
    story = begun(waiting(1), steps=2)
    step(story, 0, ())
    story.phase("warmup", 1)
    step(story, 1, (waiting(2),))
    judgement = judge(story.end())
    assert [cell(judgement, name).colour for name in ("db restart", "db again")] == [RED, GREEN]


def test_a_connection_on_which_a_request_waits_is_no_consumer() -> None:
    story = begun()
    row = OpenConnection("db", "127.0.0.1:1", None, "w-1")
    story.add(Census("c", story.now, None, (row,)))
    look(story, waiting(1))
    step(story, 0, ())
    assert judge(story.end()).cell(ROUTE, "db restart") is None
