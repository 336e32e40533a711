from __future__ import annotations

from random import Random

import pytest

from seism.toxics.base import Chunk, Eof, Forward, Stage, Toxic


def test_a_stage_that_overrides_nothing_passes_everything() -> None:
    stage = Stage()
    assert [*stage.started(0), *stage.due(0), *stage.updated(None, 0), *stage.removed(0)] == []
    assert list(stage.data(Chunk(b"ab", 3), 0)) == [Forward(Chunk(b"ab", 3))]
    assert list(stage.eof(Eof(5), 0)) == [Forward(Eof(5))]


def test_a_chunk_knows_where_it_ends() -> None:
    assert Chunk(b"ab", 3).end == 5


def test_a_toxic_must_make_a_stage() -> None:
    with pytest.raises(NotImplementedError):
        Toxic().stage(Random(1))
