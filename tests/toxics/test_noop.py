from __future__ import annotations

from seism.toxics.base import Chunk, Eof, Forward
from seism.toxics.noop import Noop
from tests.toxics.conversation import Conversation


def test_everything_passes() -> None:
    talk = Conversation(Noop())
    assert talk.started(at=0) == []
    assert talk.data(b"a", at=0) == [Forward(Chunk(b"a", 0))]
    assert talk.eof(at=0) == [Forward(Eof(1))]
    assert talk.updated(Noop(), at=0) == talk.removed(at=0) == []
