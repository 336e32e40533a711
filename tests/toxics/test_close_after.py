from __future__ import annotations

import pytest

from seism.errors import ConfigurationError
from seism.options import build
from seism.toxics.base import Began, Chunk, Ended, Eof, Forward, Reset
from seism.toxics.close_after import CloseAfter
from tests.toxics.conversation import Conversation


def test_so_many_messages_pass() -> None:
    talk = Conversation(CloseAfter(messages=2))
    assert talk.data(b"abc", at=1) == [Forward(Chunk(b"abc", 0))]
    assert talk.data(b"d", at=1) == [
        Forward(Chunk(b"d", 3)), Began(4), Ended("closed"), Forward(Eof(4, closes=True)),
    ]  # fmt: skip
    assert talk.data(b"e", at=1) == []


def test_whichever_comes_first() -> None:
    talk = Conversation(CloseAfter(messages=2, bytes=2))
    talk.data(b"abc", at=1)
    assert talk.forwarded == b"ab"
    assert talk.outcomes == ["closed"]


def test_it_can_reset_instead() -> None:
    talk = Conversation(CloseAfter(bytes=2, reset=True))
    assert talk.data(b"abc", at=1) == [
        Forward(Chunk(b"ab", 0)), Began(2), Ended("reset"), Reset(),
    ]  # fmt: skip


def test_the_count_survives_changes() -> None:
    talk = Conversation(CloseAfter(messages=5))
    talk.data(b"a", at=1)
    talk.data(b"b", at=1)
    assert talk.updated(CloseAfter(messages=3), at=1) == []
    assert talk.updated(CloseAfter(messages=2, reset=True), at=1) == [
        Began(2), Ended("reset"), Reset(),
    ]  # fmt: skip


def test_one_limit_is_required() -> None:
    with pytest.raises(ConfigurationError, match="messages or bytes is required"):
        build(CloseAfter, {}, "close_after")
