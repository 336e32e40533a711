"""How late a late reply is, by what the app did while the backend was slow."""

from __future__ import annotations

import pytest

from seism.experiment.late import LONGEST_MS, USUAL_MS, is_sized, sized
from seism.experiment.perturbation import Planned
from tests.story import Story

LATE = Planned("db late", "db", "late")


def story(duration: float, status: int) -> Story:
    made = Story(("db slow", "db", "latency"))
    made.plan[0]["attributes"] = {"latency": 3000}
    made.phase("steady")
    made.requests(4)
    made.phase("during", 0)
    made.perturb(0, *(made.request(status=status, duration=duration) for _ in range(3)))
    return made


@pytest.mark.parametrize(
    ("duration", "status", "delay"),
    [(0.25, 503, 300), (3.1, 200, USUAL_MS), (2.5, 500, LONGEST_MS), (3.1, 500, USUAL_MS)],
)
def test_it_is_a_little_more_than_the_deadline(duration: float, status: int, delay: int) -> None:
    assert sized(LATE, story(duration, status).end()).attributes == {"delay": delay}


def test_clients_leave_while_it_is_so_late() -> None:
    assert is_sized(Planned("db impatient", "db", "impatient"))


def test_a_delay_of_the_file_stays() -> None:
    assert is_sized(LATE)
    assert not is_sized(Planned("db late", "db", "late", attributes={"delay": 5}))
