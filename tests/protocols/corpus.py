"""What holds for every codec, whatever it is given and however that is cut."""

from __future__ import annotations

from collections import Counter

from seism.errors import ProtocolError
from seism.protocols.base import HELD_LIMIT, SUMMARY_LIMIT, Codec, Exchange, Piece
from tests.protocols.record import Chunks

WAYS = ("upstream", "downstream")


class Follower:
    """Feeds a codec as a proxy does, and checks what comes out of it."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.exchanges: list[Exchange] = []
        """Those whose first piece has come, in order."""
        self.pieces: list[tuple[str, Piece]] = []
        self.error = ""
        self.given = dict.fromkeys(WAYS, b"")
        self.out = dict.fromkeys(WAYS, b"")
        self._sizes: Counter[tuple[str, int]] = Counter()
        self._ended: set[tuple[str, int]] = set()

    @property
    def over(self) -> bool:
        """The codec is not asked any more."""
        return bool(self.error or self.codec.opaque)

    def feed(self, way: str, data: bytes) -> None:
        if self.over or not data:
            return
        self.given[way] += data
        try:
            for piece in self.codec.receive(way, data):
                self._take(way, piece)
        except ProtocolError as error:
            self.error = str(error)
            assert self.error
        for either in WAYS:
            held = self.codec.held(either)
            assert self.out[either] + held == self.given[either]
            assert len(held) <= HELD_LIMIT or self.error

    def end(self) -> None:
        """Both streams end: all comes out."""
        for way in WAYS:
            if not self.over:
                for piece in self.codec.eof(way):
                    self._take(way, piece)
                assert self.out[way] == self.given[way]

    def _take(self, way: str, piece: Piece) -> None:
        assert piece.data
        self.out[way] += piece.data
        self.pieces.append((way, piece))
        exchange = piece.exchange
        if exchange is None:
            return
        if exchange not in self.exchanges:
            assert piece.first and (way == "upstream" or exchange.number == 0)
            assert len(exchange.summary) <= SUMMARY_LIMIT
            assert set(exchange.fields) <= set(self.codec.matches)
            self.exchanges.append(exchange)
        key = (way, exchange.number)
        assert piece.first == (key not in self._sizes), "first is the first piece, only that"
        assert key not in self._ended, "nothing comes after the last piece"
        if piece.last:
            self._ended.add(key)
            assert way == "upstream" or exchange.answered
        self._sizes[key] += len(piece.data)
        size = exchange.request_size if way == "upstream" else exchange.reply_size
        assert self._sizes[key] == size


def follow(codec: Codec, chunks: Chunks, cut: int = 0) -> Follower:
    """``codec`` has been given ``chunks``, in pieces of ``cut`` bytes, and their ends."""
    follower = Follower(codec)
    for way, data in chunks:
        step = cut or max(1, len(data))
        for at in range(0, len(data), step):
            follower.feed(way, data[at : at + step])
    follower.end()
    return follower


def told(follower: Follower) -> list[tuple[object, ...]]:
    """What it says of the exchanges: the same however the bytes are cut."""
    return [
        (one.number, one.kind, one.phase, one.summary, one.fields, one.trace, one.replies)
        + (one.request_size, one.reply_size, one.answered)
        for one in follower.exchanges
    ]
