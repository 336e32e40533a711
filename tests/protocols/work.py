"""The work of a codec (``tests/work.py``), so that a test can say that it grows with the input."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import seism.protocols
from seism.errors import ProtocolError
from seism.protocols.base import Codec
from seism.protocols.framed import Framed
from seism.protocols.stream import StreamCodec
from seism_middleware.contract import UPSTREAM
from tests.work import CountedArray, CountedBytes, Work

HERE = str(Path(seism.protocols.__file__).parent)
Turns = Sequence[tuple[str, bytes]]


def _streams(codec: Any) -> list[Any]:
    """What holds the buffers of either style of codec."""
    if isinstance(codec, Framed):
        return list(codec._cutters.values())
    assert isinstance(codec, StreamCodec)
    return [codec.upstream, codec.downstream]


def work(codec: Codec, turns: Turns, skipped: int = 0) -> int:
    """What ``turns`` cost; of every ``skipped`` exchanges, one does not reach its server.

    The buffers of the codec are exchanged for counting ones before it begins.
    """
    for stream in _streams(codec):
        stream.buffer = CountedArray()
    with Work(HERE) as done:
        try:
            _hear(codec, turns, skipped)
        except ProtocolError:
            pass
    return done.count


def _hear(codec: Codec, turns: Turns, skipped: int) -> None:
    asked = 0
    for stream, data in turns:
        if codec.opaque:
            break
        for piece in codec.receive(stream, CountedBytes(data)):
            exchange = piece.exchange
            if stream == UPSTREAM and piece.first and exchange is not None:
                asked += 1
                if skipped and asked % skipped == 0 and exchange.replies:
                    codec.skip(exchange)
        codec.holds(stream)
