"""503s although the backend is well again."""

from __future__ import annotations

import pytest

from seism.verdict.judgement import judge
from seism.verdict.result import AMBER, GREEN
from seism.verdict.rules import Rules
from tests.story import Story


@pytest.mark.parametrize(("seconds", "colour"), [(3, AMBER), (0, GREEN)])
def test_a_late_503(seconds: float, colour: str) -> None:
    story = Story(("db down", "db", "down"), rules=Rules(recover_within=10))
    story.phase("steady")
    story.requests(20)
    story.phase("during", 0)
    story.perturb(0, *[story.request(status=503) for _ in range(4)])
    story.phase("after", 0)
    for _ in range(3):
        story.now += seconds / 3
        story.request(status=503)
    story.requests(12)
    (cell,) = judge(story.end()).cells
    assert cell.colour == colour
    if colour == AMBER:
        assert cell.reasons[0].startswith("503 to 3 of 15 requests after db down, the last one 3.0")
