"""Every journal of a run: nothing is lost between the load and the cells."""

from __future__ import annotations

from pathlib import Path

from seism.journal import read
from seism.verdict.client_view import ClientAnswer
from seism.verdict.judgement import judge
from seism.verdict.timeline import build


def nothing_is_lost(journal: Path) -> None:
    """Each request of the load is one request, in one cell or in a control run."""
    entries = list(read(journal))
    timeline = build(entries)
    ids = [sent.request for sent in timeline.clients]
    assert len(set(ids)) == len(ids)
    mine = [each for each in timeline.requests.values() if isinstance(each, ClientAnswer)]
    if not any(step.front for step in timeline.plan):
        assert len(mine) + len(timeline.outside) == len(ids)
    assert judge(entries).unplaced == ()
