"""What was planted against what was found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from seism.demo.planted import Planted, Weakness, compare, load
from seism.errors import ConfigurationError
from seism.verdict.judgement import judge
from seism.verdict.result import Judgement
from tests.story import Story

LEAK = Weakness("GET /a", "db slow", "red", "exception", "answers 500")
SLOW = Weakness("GET /b", "db slow", "amber", "no timeout", "hangs")


def verdicts(**status: int) -> Judgement:
    """A run in which each route answered so under ``db slow``; 200 took too long."""
    story = Story(("db slow", "db", "latency"))
    story.phase("steady")
    for route in status:
        story.requests(3, f"GET /{route}")
    story.phase("during", 0)
    for route, code in status.items():
        story.perturb(0, story.request(f"GET /{route}", code, duration=2 if code == 200 else 0.1))
    story.phase("after", 0)
    for route in status:
        story.requests(3, f"GET /{route}")
    return judge(story.end())


def test_exactly_what_was_planted() -> None:
    result = compare(Planted((LEAK, SLOW)), verdicts(a=500, b=200, c=503))
    assert result.exact
    assert result.found == (LEAK, SLOW)


def test_one_is_missed() -> None:
    result = compare(Planted((LEAK, SLOW)), verdicts(a=503, b=200))
    assert not result.exact
    assert result.found == (SLOW,)
    assert result.missed == (
        "GET /a under db slow: answers 500 (red was planted, the verdict is green)",
    )
    assert result.blamed == ()


def test_a_healthy_route_is_blamed() -> None:
    result = compare(Planted((LEAK,)), verdicts(a=500, b=500))
    assert not result.exact
    assert result.missed == ()
    assert result.blamed == ("GET /b under db slow: red, 500",)


def test_another_colour_is_a_miss() -> None:
    result = compare(Planted((SLOW,)), verdicts(b=500))
    assert (len(result.missed), result.blamed) == (1, ())


def test_a_route_that_is_not_there() -> None:
    result = compare(Planted((LEAK,)), verdicts(b=503))
    assert "there is no such cell" in result.missed[0]


def test_the_file(tmp_path: Path) -> None:
    path = tmp_path / "planted.toml"
    path.write_text(
        '[[weakness]]\nroute="GET /a"\nperturbation="db slow"\ncolour="red"\n'
        'kind="exception"\nwhat="answers 500"\n'
    )
    assert load(path) == Planted((LEAK,))
    path.write_text('[[weakness]]\nroute="GET /a"\ncolour="green"\n')
    with pytest.raises(ConfigurationError, match=r"planted\.toml: weakness"):
        load(path)
    with pytest.raises(ConfigurationError, match="No such file"):
        load(tmp_path / "none.toml")


def test_what_only_a_sweep_finds_is_not_missed() -> None:
    swept = replace(SLOW, found_by="sweep")
    assert compare(Planted((LEAK, swept)), verdicts(a=500)).exact


def test_a_sweep_finds_all_and_explains_whatever_a_weak_route_does() -> None:
    swept = replace(SLOW, found_by="sweep")
    assert compare(Planted((LEAK, swept)), verdicts(a=500, b=200), swept=True).found == (
        LEAK, swept,
    )  # fmt: skip
    missed = compare(Planted((LEAK, swept)), verdicts(a=500, b=503), swept=True)
    assert (len(missed.missed), missed.blamed) == (1, ())
    elsewhere = replace(LEAK, perturbation="db reset")
    explained = compare(Planted((elsewhere,)), verdicts(a=500), swept=True)
    assert (len(explained.missed), explained.blamed) == (1, ())
    assert compare(Planted((LEAK,)), verdicts(a=500, b=500), swept=True).blamed == (
        "GET /b under db slow: red, 500",
    )
