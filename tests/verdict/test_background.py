"""What an exception has ended outside of requests."""

from __future__ import annotations

import pytest

from seism.verdict.judgement import judge
from seism.verdict.result import AMBER, GREEN, RED
from seism_middleware.contract import BackgroundEnded, Census, Running
from tests.story import Story

LIVES = Running("thread", "app.consume", 1)


def census(story: Story, *running: Running) -> None:
    story.now += 0.001
    story.add(Census("c", story.now, None, (), running))


def ends(story: Story, *connections: str) -> None:
    story.now += 0.001
    frames = ("app.py:12 consume",)
    story.add(BackgroundEnded("thread", "app.consume", story.now, "OSError", frames, connections))


@pytest.mark.parametrize(
    ("before", "after", "colour", "words"),
    [
        ((LIVES,), (), RED, "nothing has taken its place"),
        ((LIVES,), (LIVES,), GREEN, "another one runs in its place"),
        ((), (), AMBER, "its work is lost"),
    ],
)
@pytest.mark.parametrize("known", [True, False])
def test_what_has_ended(
    before: tuple[Running, ...], after: tuple[Running, ...], colour: str, words: str, known: bool
) -> None:
    story = Story(("db restart", "db", "restart"))
    story.phase("steady")
    story.requests(10)
    census(story, *before)
    story.phase("during", 0)
    hit = story.perturb(0, story.request())
    ends(story, *(["127.0.0.1:1"] if known else []))
    story.phase("after", 0)
    story.requests(10)
    census(story, *after)
    judgement = judge(story.end())
    (harm,) = judgement.harms
    assert (harm.kind, harm.colour, harm.perturbation) == ("ended", colour, "db restart")
    assert harm.what.startswith("OSError ended the thread app.consume of worker w at app.py:12")
    assert words in harm.what
    assert harm.exact == known
    assert harm.hit_by == (hit if known else "")
    assert judgement.colour == colour


def test_after_a_restart_of_the_app_the_control_run_tells_what_is_missing() -> None:
    story = Story(("db restart", "db", "restart"), ("db down", "db", "down"))
    story.phase("steady")
    story.requests(10)
    census(story, LIVES)
    for number, worker in enumerate("wx"):
        story.phase("warmup", number)
        story.phase("during", number)
        story.perturb(number, story.request())
        story.now += 0.001
        story.add(BackgroundEnded("thread", "app.consume", story.now, "OSError"), worker)
        story.phase("after", number)
        story.requests(10)
        story.add(Census("c", story.now, None, (), ()), worker)
    judgement = judge(story.end())
    assert [harm.colour for harm in judgement.harms] == [RED, RED]


@pytest.mark.parametrize("gone", [True, False])
def test_what_ends_in_the_control_run_too(gone: bool) -> None:
    """No perturbation is blamed for threads that fail now and then, unless one stays away."""
    story = Story(("db restart", "db", "restart"))
    story.phase("steady")
    story.requests(10)
    ends(story)
    census(story, LIVES)
    story.phase("during", 0)
    story.perturb(0, story.request())
    ends(story)
    story.phase("after", 0)
    story.requests(10)
    census(story, *([] if gone else [LIVES]))
    judgement = judge(story.end())
    assert [harm.colour for harm in judgement.harms] == ([RED] if gone else [])
    words = "without any perturbation OSError ended the thread app.consume"
    assert [line for line in judgement.warnings if "ended" in line] == [words]
