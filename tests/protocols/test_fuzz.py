"""The fuzzer's inputs: every protocol has seeds, and a wrong codec does not pass."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from seism.protocols.base import Piece
from seism.protocols.http import Http
from tests.protocols.conformance import Conformance
from tests.protocols.fuzz import PROTOCOLS, decoded, encoded, one, suite


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_samples_are_where_it_begins(protocol: str) -> None:
    tests = suite(protocol)
    assert tests.codec.name == protocol
    for sample in tests.samples:
        data = encoded(sample.turns)
        assert b"".join(chunk for _, chunk in decoded(data)) == b"".join(
            chunk for _, chunk in sample.turns
        )
        one(tests, data)


class Losing(Http):
    """Loses a byte of each reply."""

    def receive(self, stream: str, data: bytes) -> Iterator[Piece]:
        for piece in super().receive(stream, data):
            yield piece if stream == "upstream" else Piece(piece.data[1:], piece.exchange)


class Wrong(Conformance):
    """Not collected: its name does not begin with Test."""

    codec = Losing
    samples = ()


def test_a_codec_that_loses_a_byte_is_found() -> None:
    sample = suite("http").samples[0]
    with pytest.raises(AssertionError):
        one(Wrong, encoded(sample.turns))
