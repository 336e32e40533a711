"""The shared rules find what they are there to find: codecs that each break one of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest

from seism.protocols.base import Codec, Exchange, Piece, ProtocolError
from seism_middleware.contract import DOWNSTREAM, UPSTREAM
from tests.protocols.conformance import Conformance, Sample
from tests.protocols.test_outside import Lines

SAMPLES = (
    Sample(
        "lines",
        [(UPSTREAM, b"add 1\nsay x\n"), (DOWNSTREAM, b"1\nx\n"), (UPSTREAM, b"add 2\n"),
         (DOWNSTREAM, b"2\n")],
        ["add", "say", "add"],
        secrets=["x"],
    ),
)  # fmt: skip


class Loses(Lines):  # type: ignore[misc, valid-type]
    def receive(self, stream: str, data: bytes) -> Iterator[Piece]:
        for piece in super().receive(stream, data):
            yield Piece(piece.data[:-1], piece.exchange, True, True)


class Crashes(Lines):  # type: ignore[misc, valid-type]
    def receive(self, stream: str, data: bytes) -> Iterator[Piece]:
        data.decode("ascii")
        return super().receive(stream, data)  # type: ignore[no-any-return]


class Hoards(Lines):  # type: ignore[misc, valid-type]
    def receive(self, stream: str, data: bytes) -> Iterable[Piece]:
        try:
            return list(super().receive(stream, data))
        except ProtocolError:
            return ()


class Forgets(Lines):  # type: ignore[misc, valid-type]
    def skip(self, exchange: Exchange) -> None:
        pass


class Tells(Lines):  # type: ignore[misc, valid-type]
    def receive(self, stream: str, data: bytes) -> Iterator[Piece]:
        for piece in super().receive(stream, data):
            piece.exchange.summary = piece.data.decode("latin-1")[:99]
            yield piece


class CutsByChunk(Lines):  # type: ignore[misc, valid-type]
    def receive(self, stream: str, data: bytes) -> Iterator[Piece]:
        if stream == DOWNSTREAM and not data.endswith(b"\n"):
            data += b"\n"
        return super().receive(stream, data)  # type: ignore[no-any-return]


def broken(codec: type[Codec], rule: str) -> bool:
    """Whether ``codec`` breaks the rule of that name."""
    rules = type("Rules", (Conformance,), {"codec": codec, "samples": SAMPLES})()
    try:
        getattr(rules, rule)()
    except Exception:
        return True
    return False


RULES = [name for name in dir(Conformance) if name.startswith("test_")]


def test_a_good_codec_breaks_none() -> None:
    assert [rule for rule in RULES if broken(Lines, rule)] == []


@pytest.mark.parametrize(
    ("codec", "rule"),
    [
        (Loses, "test_whole"),
        (Crashes, "test_garbage"),
        (Hoards, "test_a_message_that_never_ends_is_not_held"),
        (Forgets, "test_a_request_that_is_not_passed_on"),
        (Tells, "test_summaries_hold_no_secrets"),
        (CutsByChunk, "test_byte_by_byte"),
    ],
)
def test_a_bad_one_is_found(codec: type[Codec], rule: str) -> None:
    assert broken(codec, rule)
