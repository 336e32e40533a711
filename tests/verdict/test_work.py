"""Work that is lost or done twice, on journals whose right verdict is known."""

from __future__ import annotations

from typing import Any

import pytest

from seism.journal import ChangingExchange
from seism.protocols.base import ADDS, CHANGES, COMMITS, COUNTS, SETS
from seism.verdict.judgement import judge
from seism.verdict.result import AMBER, GREEN, RED, Cell
from seism_middleware.contract import SendCount
from tests.story import LOGGED, Story

RESET = ("db reset", "db", "reset_peer")
PUSH = ("LPUSH", ADDS)
LOCAL = "127.0.0.1:9"


class Told:
    """A story whose requests make backends do something."""

    def __init__(self) -> None:
        self.story = Story(RESET)

    def request(self, *work: tuple[str, str], done: int | None = None, **fields: Any) -> str:
        """``done``: how many of ``work`` the backend has carried out, all by default."""
        sends = {"sends": (SendCount("db", LOCAL, max(1, len(work)), 20),)}
        key = self.story.request(**{**sends, **fields})
        for number, (what, effect) in enumerate(work):
            at = self.story.now + 0.001
            carried_out = done is None or number < done
            self.story.add(ChangingExchange("db", LOCAL, at, what, effect, carried_out))
        return key

    def cell(self, usual: list[tuple[str, str]], hit: list[tuple[str, str]], **fields: Any) -> Cell:
        self.story.phase("steady")
        for _ in range(8):
            self.request(*usual)
        self.story.phase("during", 0)
        self.story.perturb(0, *[self.request(*hit, **fields) for _ in range(4)])
        self.story.phase("after", 0)
        for _ in range(6):
            self.request(*usual)
        (cell,) = judge(self.story.end()).cells
        return cell


@pytest.mark.parametrize("hit", [[], [PUSH]])
def test_lost_work(hit: list[tuple[str, str]]) -> None:
    cell = Told().cell([PUSH], hit, done=0, errors=LOGGED)
    assert cell.colour == AMBER
    (reason,) = cell.reasons
    assert "lost work: 4 answered as usual, but its LPUSH never got through to db" in reason
    assert reason.endswith("; 4 of them logged an error")


@pytest.mark.parametrize(
    ("usual", "hit", "fields"),
    [
        ([PUSH], [PUSH], {}),
        ([PUSH], [PUSH, PUSH], {"done": 1}),  # tried again
        ([PUSH], [("XADD", ADDS)], {}),  # done elsewhere instead
        ([PUSH], [], {"status": 503}),  # it says so
        ([("INCR", COUNTS)], [], {}),  # a rate limit that fails open
        ([("COMMIT", COMMITS)], [], {}),  # a transaction that reads
        ([], [], {}),
        ([("UPDATE", CHANGES)], [("UPDATE", CHANGES)], {}),
        ([("PUT", SETS)], [("PUT", SETS)] * 2, {}),  # repeating it makes no difference
    ],
)
def test_work_that_is_not_lost(
    usual: list[tuple[str, str]], hit: list[tuple[str, str]], fields: dict[str, Any]
) -> None:
    assert Told().cell(usual, hit, **fields).colour == GREEN


@pytest.mark.parametrize(
    ("usual", "hit", "colour"),
    [
        ([PUSH], [PUSH, PUSH], RED),
        ([("INCR", COUNTS)], [("INCR", COUNTS)] * 2, RED),
        ([("UPDATE", CHANGES)], [("UPDATE", CHANGES)] * 2, AMBER),
        ([PUSH, PUSH], [PUSH, PUSH], GREEN),
    ],
)
def test_work_that_is_done_twice(
    usual: list[tuple[str, str]], hit: list[tuple[str, str]], colour: str
) -> None:
    cell = Told().cell(usual, hit)
    assert cell.colour == colour
    if colour != GREEN:
        what = usual[0][0]
        assert cell.reasons == (
            f"done twice: its {what} was carried out by db 2 times, 1 in the control run",
        )


INSERT, COMMIT = ("INSERT", ADDS), ("COMMIT", COMMITS)


def test_a_transaction_counts_by_its_commit() -> None:
    usual = [INSERT, COMMIT]
    assert Told().cell(usual, [INSERT, INSERT, COMMIT]).colour == GREEN
    assert Told().cell(usual, [INSERT, COMMIT] * 2).colour == RED
    cell = Told().cell(usual, [INSERT, COMMIT], done=1)
    assert "but its COMMIT never got through to db" in cell.reasons[0]


def test_where_two_requests_used_the_connection_nothing_is_lost() -> None:
    told = Told()
    story = told.story
    story.phase("steady")
    for _ in range(8):
        told.request(PUSH)
    story.phase("during", 0)
    hit = told.request(duration=1.0)
    told.request(PUSH, duration=1.0)
    story.perturb(0, hit)
    story.now += 2
    story.phase("after", 0)
    told.request(PUSH)
    (cell,) = judge(story.end()).cells
    assert cell.colour == GREEN


def test_requests_that_follow_each_other_at_once_do_not_share_an_exchange() -> None:
    told = Told()
    told.story.phase("steady")
    for _ in range(8):
        told.request(PUSH, duration=0.0099)
    told.story.phase("during", 0)
    told.story.perturb(0, *[told.request(duration=0.0099) for _ in range(4)])
    told.story.phase("after", 0)
    told.request(PUSH)
    (cell,) = judge(told.story.end()).cells
    assert cell.reasons[0].startswith("lost work: 4 answered as usual")


INSERT, COMMIT = ("INSERT", ADDS), ("COMMIT", COMMITS)


@pytest.mark.parametrize(
    ("first", "second", "colour"),
    [
        ([INSERT], [INSERT, COMMIT], RED),  # the driver has reconnected between the two
        ([INSERT], [INSERT, INSERT, COMMIT], GREEN),  # the app has begun again
        ([], [INSERT, INSERT, COMMIT], GREEN),
    ],
)
def test_a_transaction_that_goes_on_with_another_connection(
    first: list[tuple[str, str]], second: list[tuple[str, str]], colour: str
) -> None:
    told = Told()
    told.story.phase("steady")
    for _ in range(8):
        told.request(INSERT, INSERT, COMMIT)
    told.story.phase("during", 0)
    both = (SendCount("db", LOCAL, 2, 20), SendCount("db", "127.0.0.1:10", 3, 20))
    hit = told.story.request(sends=both)
    work = [(LOCAL, *each) for each in first] + [("127.0.0.1:10", *each) for each in second]
    for number, (local, what, effect) in enumerate(work, 1):
        at = told.story.now + number / 1000
        told.story.add(ChangingExchange("db", local, at, what, effect, True))
    told.story.perturb(0, hit)
    told.story.phase("after", 0)
    for _ in range(6):
        told.request(INSERT, INSERT, COMMIT)
    (cell,) = judge(told.story.end()).cells
    assert cell.colour == colour
    assert ("uncommitted" in str(cell.reasons)) == (colour == RED)
