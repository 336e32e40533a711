"""What every codec must do, as tests that a protocol's test file inherits.

    class TestRedis(Conformance):
        codec = Redis
        samples = (
            Sample("ping", [(UPSTREAM, b"PING\\r\\n"), (DOWNSTREAM, b"+PONG\\r\\n")], ["PING"]),
        )

A sample is one connection from its first byte, as a real client and server have spoken it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seism.protocols.base import HELD_LIMIT, SUMMARY_LIMIT, Codec, Exchange, Piece, ProtocolError
from seism_middleware.contract import DOWNSTREAM, UPSTREAM

Turns = Sequence[tuple[str, bytes]]


@dataclass(frozen=True)
class Sample:
    """One conversation: who said what in which order, and what it consists of."""

    name: str
    turns: Turns
    kinds: Sequence[str]
    """Of all exchanges with a request, in order."""
    opaque: str = ""
    """What the codec says of itself in the end."""
    secrets: Sequence[str] = ()
    """Values and credentials that no summary may show."""
    skips: bool = True
    """Any one of its exchanges in phase ``command`` can be taken out."""

    def __str__(self) -> str:
        return self.name


class Heard:
    """What a codec has made of a conversation, checked as it goes."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.pieces: dict[str, list[Piece]] = {UPSTREAM: [], DOWNSTREAM: []}
        self.error = ""
        self._left = {UPSTREAM: b"", DOWNSTREAM: b""}
        """What the codec has been given and has not given back."""

    def hear(self, stream: str, data: bytes) -> None:
        """Give ``data`` to the codec as the proxy does, and check what must always hold."""
        if self.error or self.codec.opaque:
            return
        self._left[stream] += data
        try:
            for piece in self.codec.receive(stream, data):
                self.take(stream, piece)
        except ProtocolError as error:
            self.error = str(error)
            assert self.error
        # After an error, too: what follows is passed on behind what is held.
        self._complete(stream)
        if not self.error and not self.codec.opaque:
            assert len(self._left[stream]) <= HELD_LIMIT

    def end(self, stream: str) -> None:
        """The stream ends, wherever it is."""
        if self.error or self.codec.opaque:
            return
        try:
            for piece in self.codec.eof(stream):
                self.take(stream, piece)
        except ProtocolError as error:
            self.error = str(error)
        self._complete(stream)
        assert self.error or self.codec.opaque or not self._left[stream]

    def take(self, stream: str, piece: Piece) -> None:
        """A piece has come out."""
        assert piece.data
        assert self._left[stream].startswith(piece.data)
        self._left[stream] = self._left[stream][len(piece.data) :]
        self.pieces[stream].append(piece)
        if piece.exchange is not None:
            assert len(piece.exchange.summary) <= SUMMARY_LIMIT
            assert set(piece.exchange.fields) <= set(self.codec.matches)
            assert piece.exchange.phase in self.codec.phases

    def feed(self, stream: str, data: bytes) -> Iterator[Piece]:
        """``hear``, for who wants to act between two pieces."""
        self._left[stream] += data
        for piece in self.codec.receive(stream, data):
            self.take(stream, piece)
            yield piece

    def _complete(self, stream: str) -> None:
        assert self.codec.held(stream) == self._left[stream]

    def exchanges(self) -> list[Exchange]:
        """Those with a request, in order."""
        return list(
            dict.fromkeys(p.exchange for p in self.pieces[UPSTREAM] if p.exchange is not None)
        )

    def shape(self) -> list[tuple[str, int | None, bytearray]]:
        """Whose bytes are whose, however they were cut."""
        found: list[tuple[str, int | None, bytearray]] = []
        for stream, pieces in self.pieces.items():
            for piece in pieces:
                number = None if piece.exchange is None else piece.exchange.number
                if not found or found[-1][:2] != (stream, number):
                    found.append((stream, number, bytearray()))
                found[-1][2].extend(piece.data)
        return found


def heard(codec: type[Codec], turns: Turns, *, detail: bool = True) -> Heard:
    """``turns`` as a new codec hears them."""
    listener = Heard(codec())
    listener.codec.detail = detail
    for stream, data in turns:
        listener.hear(stream, data)
    return listener


def cut(turns: Turns, sizes: Sequence[int]) -> Iterator[tuple[str, bytes]]:
    """``turns`` in chunks of these sizes, over and over."""
    position = 0
    for stream, data in turns:
        while data:
            size = sizes[position % len(sizes)]
            position += 1
            yield stream, data[:size]
            data = data[size:]


QUICK = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow],
)


class Conformance:
    """Inherit it, name the codec and its samples."""

    codec: ClassVar[type[Codec]]
    samples: ClassVar[Sequence[Sample]]

    def test_whole(self) -> None:
        for sample in self.samples:
            listener = heard(self.codec, sample.turns)
            exchanges = listener.exchanges()
            assert listener.error == "", sample
            assert [exchange.kind for exchange in exchanges] == list(sample.kinds), sample
            assert listener.codec.opaque == sample.opaque, sample
            if sample.opaque:
                continue
            for stream in listener.pieces:
                assert not listener.codec.held(stream), f"{sample}: {stream} is held back"
            for exchange in exchanges:
                assert exchange.answered, f"{sample}: {exchange}"
            # Otherwise the connection never counts as parked. Servers may say a word to what has
            # no reply, so that is remembered.
            silent = sum(not exchange.replies for exchange in exchanges)
            assert listener.codec.unanswered <= silent, sample
            self._sizes(listener, sample)

    def _sizes(self, listener: Heard, sample: Sample) -> None:
        requests: dict[Exchange, list[Piece]] = {}
        replies: dict[Exchange, list[Piece]] = {}
        for stream, into in ((UPSTREAM, requests), (DOWNSTREAM, replies)):
            for piece in listener.pieces[stream]:
                if piece.exchange is not None:
                    into.setdefault(piece.exchange, []).append(piece)
        for exchange, pieces in requests.items():
            assert exchange.request_size == sum(len(p.data) for p in pieces), sample
        for exchange, pieces in replies.items():
            assert exchange.reply_size == sum(len(p.data) for p in pieces), sample
        for pieces in (*requests.values(), *replies.values()):
            assert [piece.first for piece in pieces] == [True] + [False] * (len(pieces) - 1)
            assert [piece.last for piece in pieces] == [False] * (len(pieces) - 1) + [True]

    def test_numbers_count_from_one(self) -> None:
        for sample in self.samples:
            exchanges = heard(self.codec, sample.turns).exchanges()
            assert [each.number for each in exchanges] == list(range(1, len(exchanges) + 1))

    def test_byte_by_byte(self) -> None:
        for sample in self.samples:
            if sample.opaque:
                continue
            listener = heard(self.codec, list(cut(sample.turns, [1])))
            assert listener.error == ""
            assert listener.shape() == heard(self.codec, sample.turns).shape(), sample
            assert [e.kind for e in listener.exchanges()] == list(sample.kinds)

    @QUICK
    @given(data=st.data())
    def test_cut_anywhere(self, data: st.DataObject) -> None:
        sample = data.draw(st.sampled_from(list(self.samples)))
        if sample.opaque:
            return
        sizes = data.draw(st.lists(st.integers(1, 40), min_size=1, max_size=5))
        listener = heard(self.codec, list(cut(sample.turns, sizes)))
        assert listener.shape() == heard(self.codec, sample.turns).shape()

    def test_without_detail_the_boundaries_are_the_same(self) -> None:
        for sample in self.samples:
            plain = heard(self.codec, sample.turns, detail=False)
            assert plain.shape() == heard(self.codec, sample.turns).shape(), sample
            assert plain.codec.opaque == sample.opaque

    @QUICK
    @given(data=st.data())
    def test_the_rest_of_a_payload_is_one_piece(self, data: st.DataObject) -> None:
        sample = data.draw(st.sampled_from(list(self.samples)))
        sizes = data.draw(st.lists(st.integers(1, 40), min_size=1, max_size=5))
        listener = Heard(self.codec())
        for stream, turn in sample.turns:
            part, position = turn, 0
            while part and not listener.codec.opaque:
                left = listener.codec.payload_left(stream)
                size = left or sizes[position % len(sizes)]
                before = len(listener.pieces[stream])
                listener.hear(stream, part[:size])
                assert not left or len(listener.pieces[stream]) == before + 1
                part, position = part[size:], position + 1

    @QUICK
    @given(data=st.data())
    def test_truncated(self, data: st.DataObject) -> None:
        sample = data.draw(st.sampled_from(list(self.samples)))
        whole = sum(len(part) for _, part in sample.turns)
        left = data.draw(st.integers(0, whole))
        listener = Heard(self.codec())
        for stream, part in sample.turns:
            if part[:left]:
                listener.hear(stream, part[:left])
            left -= min(left, len(part))
        listener.end(UPSTREAM)
        listener.end(DOWNSTREAM)

    @QUICK
    @given(data=st.data())
    def test_mutated(self, data: st.DataObject) -> None:
        """Only ProtocolError comes out (``hear`` would let anything else through)."""
        sample = data.draw(st.sampled_from(list(self.samples)))
        listener = Heard(self.codec())
        for stream, part in sample.turns:
            mutated = bytearray(part)
            for _ in range(data.draw(st.integers(0, 3))):
                at = data.draw(st.integers(0, len(mutated)))
                mutated[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
            if mutated:
                listener.hear(stream, bytes(mutated))
        listener.end(UPSTREAM)
        listener.end(DOWNSTREAM)

    @QUICK
    @given(
        chunks=st.lists(
            st.tuples(st.sampled_from([UPSTREAM, DOWNSTREAM]), st.binary(min_size=1, max_size=99)),
            max_size=8,
        ),
        detail=st.booleans(),
    )
    def test_garbage(self, chunks: list[tuple[str, bytes]], detail: bool) -> None:
        heard(self.codec, chunks, detail=detail)

    def test_a_message_that_never_ends_is_not_held(self) -> None:
        for byte in (b"\0", b" ", b"*", b"$", b"1", b"A", b"\r", b"\n", b"\xff"):
            for stream in (UPSTREAM, DOWNSTREAM):
                listener = Heard(self.codec())
                for _ in range(4):
                    listener.hear(stream, byte * HELD_LIMIT)

    def test_summaries_hold_no_secrets(self) -> None:
        for sample in self.samples:
            for exchange in heard(self.codec, sample.turns).exchanges():
                for secret in sample.secrets:
                    assert secret not in exchange.summary + exchange.kind, sample

    def test_a_request_that_is_not_passed_on(self) -> None:
        """With any one exchange taken out, the others have the replies that they had."""
        tried = 0
        for sample in self.samples:
            if sample.opaque or not sample.skips:
                continue
            usual = heard(self.codec, sample.turns)
            for victim in usual.exchanges():
                if victim.phase == "command" and victim.replies:
                    self._without(sample, usual, victim.number)
                    tried += 1
        assert tried, "no sample has an exchange in phase command"

    def _without(self, sample: Sample, usual: Heard, number: int) -> None:
        whose = [
            None if piece.exchange is None else piece.exchange.number
            for piece in usual.pieces[DOWNSTREAM]
        ]
        listener = Heard(self.codec())
        downstream = iter(zip(whose, usual.pieces[DOWNSTREAM], strict=True))
        for stream, part in sample.turns:
            if stream == UPSTREAM:
                for piece in listener.feed(stream, part):
                    if piece.first and piece.exchange and piece.exchange.number == number:
                        listener.codec.skip(piece.exchange)
                continue
            left = len(part)
            while left > 0:
                owner, piece = next(downstream)
                left -= len(piece.data)
                if owner != number:
                    listener.hear(stream, piece.data)
        assert listener.error == "", f"{sample} without {number}"
        replies = {
            None if p.exchange is None else p.exchange.number for p in listener.pieces[DOWNSTREAM]
        }
        assert replies == set(whose) - {number}, f"{sample} without {number}"
