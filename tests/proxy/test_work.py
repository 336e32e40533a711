"""The work of a conversation, and of an outlet, is linear in what comes, however it is cut."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, ClassVar, NoReturn, cast

import pytest

from seism.clock import MonotonicClock
from seism.errors import ProtocolError
from seism.model import ToxicSpec
from seism.protocols.base import Codec, Exchange, Piece
from seism.proxy.conversation import EXCHANGE_COST, UNANSWERED_LIMIT, Conversation
from seism.proxy.installed_toxic import InstalledToxic
from seism.proxy.outlet import BUFFER, ConnectionOver, Outlet
from seism.proxy.pending import TURN, LostExchanges
from seism.proxy.perturbation import Account, Perturbation
from seism.proxy.timers import Timers
from seism.registry import load
from seism.rng import Journalled, Seed
from seism.toxics.base import Chunk
from seism_middleware.contract import DOWNSTREAM, UPSTREAM, PerturbationEnded
from tests.work import CountedBytes, growth

REGISTRY = load()


class Letters(Codec):
    """Each byte of a client is a request, of that kind. The server answers a request with its
    letter, after any number of dots that belong to it; a dash belongs to none and is mid-message.
    """

    name = "letters"

    def __init__(self) -> None:
        super().__init__()
        self._count = 0
        self._asked: deque[Exchange] = deque()

    @property
    def unanswered(self) -> int:
        return len(self._asked)

    def receive(self, stream: str, data: bytes) -> Iterator[Piece]:
        cut = self._request if stream == UPSTREAM else self._reply
        for at in range(len(data)):
            yield cut(CountedBytes(data[at : at + 1]))

    def _request(self, letter: bytes) -> Piece:
        if letter == b"!":
            raise ProtocolError("no letter")
        self._count += 1
        exchange = Exchange(self._count, letter.decode())
        self._asked.append(exchange)
        return Piece(letter, exchange, first=True, last=True)

    def _reply(self, letter: bytes) -> Piece:
        if letter == b"-":
            return Piece(letter, None, cut=True)
        exchange = self._next(letter.decode())
        last = letter != b"."
        exchange.answered = last
        if last:
            self._asked.remove(exchange)
        return Piece(letter, exchange, last=last)

    def _next(self, kind: str) -> Exchange:
        return self._asked[0]

    def eof(self, stream: str) -> Iterator[Piece]:
        return iter(())

    def held(self, stream: str) -> bytes:
        return b""

    def skip(self, exchange: Exchange) -> None:
        assert self._asked.pop() is exchange


class UnorderedLetters(Letters):
    """Replies come in any order."""

    ordered: ClassVar[bool] = False

    def _next(self, kind: str) -> Exchange:
        return self._asked[-1]


class Side:
    """One direction, without sockets."""

    reading = True

    def __init__(self, ends: Ends, stream: str) -> None:
        self._ends = ends
        self._stream = stream
        self.received = 0
        self.out = b""

    def enter_chain(self, item: Any, now: float) -> None:
        if isinstance(item, Chunk):
            self.out += item.data

    def bypass_chain(self, chunk: Chunk) -> None:
        self.out += chunk.data

    def finish_with_fin(self, now: float) -> None:
        """Nothing is closed here."""

    def regulate(self) -> None:
        self.reading = not self._ends.conversation.full(self._stream)

    def replies_altered(self) -> None:
        """Nobody counts here."""


class Alarms:
    """Timers that a test lets ring."""

    def __init__(self) -> None:
        self.set: list[Callable[[], None]] = []

    def at(self, when: float, callback: Callable[[], None]) -> Any:
        self.set.append(callback)
        return self

    active = True

    def cancel(self) -> None:
        """It is not rung."""

    def ring(self) -> None:
        """Once, and again for what is set meanwhile."""
        while self.set:
            self.turn()

    def turn(self) -> None:
        """Call everything that is due in one turn of the loop."""
        due, self.set = self.set, []
        for callback in due:
            callback()


class Ends:
    """What a conversation stands between."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.timers = Alarms()
        self.clock = MonotonicClock()
        self.records: list[Any] = []
        self._account = Account(self.records.append, self.clock)
        self.lost = LostExchanges(cast(Timers, self.timers), self.clock)
        self.up, self.down = Side(self, UPSTREAM), Side(self, DOWNSTREAM)
        relay: Any = self
        self.up_before = 0
        self.conversation = Conversation(self, self.up, self.down, codec, relay, self._opaque)

    def _opaque(self, reason: str) -> None:
        """The codec understands no more."""

    def chance(self, installed: InstalledToxic, exchange: int) -> float | None:
        return None

    def rng(self, installed: InstalledToxic, exchange: int) -> Journalled:
        return Seed(1).journalled("toxic", exchange)

    def began_exchange(
        self, installed: InstalledToxic, exchange: Exchange, offset: int, chance: float | None
    ) -> Perturbation:
        return self._account.begin("letters", installed.name, installed.type)

    def end_with_reset(self) -> NoReturn:
        raise ConnectionOver

    def arm(self, type: str, kind: str, **attributes: Any) -> Ends:
        spec = ToxicSpec(type, attributes=attributes, exchange={"kind": kind})
        self.conversation.arm(InstalledToxic.of(spec, REGISTRY, "", self.codec.__class__), 0)
        return self

    def say(self, stream: str, data: bytes, at_once: int = 1 << 30) -> None:
        side = self.up if stream == UPSTREAM else self.down
        for start in range(0, len(data), at_once):
            chunk = Chunk(data[start : start + at_once], side.received)
            side.received += len(chunk.data)
            self.conversation.received(stream, chunk, 0.0)


def many_requests_in_one_read(count: int) -> Callable[[], object]:
    ends = Ends(Letters()).arm("exchange_delay", "x")
    return lambda: ends.say(UPSTREAM, b"a" * count)


def one_request_a_read(count: int) -> Callable[[], object]:
    ends = Ends(Letters()).arm("exchange_delay", "x")
    return lambda: ends.say(UPSTREAM, b"a" * count, 1)


def answers_behind_a_slow_server(count: int) -> Callable[[], object]:
    ends = Ends(Letters()).arm("exchange_close", "x", when="request")

    def act() -> None:
        ends.say(UPSTREAM, b"a" * count, 1)
        ends.say(DOWNSTREAM, b"a" * count, 1)

    return act


def all_behind_a_late_request(count: int) -> Callable[[], object]:
    ends = Ends(Letters()).arm("exchange_delay", "x", late="request")

    def act() -> None:
        ends.say(UPSTREAM, b"x" + b"a" * count, 1)
        assert ends.up.out == b""
        ends.timers.ring()
        assert ends.up.out == b"x" + b"a" * count

    return act


def a_late_reply_in_many_pieces(count: int) -> Callable[[], object]:
    ends = Ends(Letters()).arm("exchange_delay", "x")
    ends.say(UPSTREAM, b"x")

    def act() -> None:
        ends.say(DOWNSTREAM, b"." * count + b"x", 1)
        ends.timers.ring()
        assert len(ends.down.out) == count + 1

    return act


def replies_behind_a_late_one(count: int) -> Callable[[], object]:
    ends = Ends(Letters()).arm("exchange_delay", "x")
    ends.say(UPSTREAM, b"x" + b"a" * count)

    def act() -> None:
        ends.say(DOWNSTREAM, b"x" + b"a" * count, 1)
        ends.timers.ring()
        assert ends.down.out == b"x" + b"a" * count

    return act


def a_removed_fault_that_lasts(count: int) -> Callable[[], object]:
    ends = Ends(Letters()).arm("exchange_close", "x", when="reply", bytes=1 << 20)
    ends.say(UPSTREAM, b"x" + b"a" * count)
    ends.conversation.disarm("exchange_close_downstream")
    return lambda: ends.say(DOWNSTREAM, b"." * count, 1)


def replies_in_any_order(count: int) -> Callable[[], object]:
    ends = Ends(UnorderedLetters()).arm("exchange_delay", "x")
    ends.say(UPSTREAM, b"a" * count)
    return lambda: ends.say(DOWNSTREAM, b"a" * count, 1)


def a_long_message_while_many_wait(count: int) -> Callable[[], object]:
    ends = Ends(UnorderedLetters()).arm("exchange_delay", "x")
    ends.say(UPSTREAM, b"x" * count)

    def act() -> None:
        ends.say(DOWNSTREAM, b"x" * (count // 2) + b"-" * count)
        ends.timers.ring()
        ends.say(DOWNSTREAM, b"-" * count + b"x", 1)

    return act


@pytest.mark.parametrize(
    "act",
    [
        many_requests_in_one_read,
        one_request_a_read,
        answers_behind_a_slow_server,
        all_behind_a_late_request,
        a_late_reply_in_many_pieces,
        replies_behind_a_late_one,
        a_removed_fault_that_lasts,
        replies_in_any_order,
        a_long_message_while_many_wait,
    ],
)
def test_twice_as_much_takes_twice_the_work(act: Callable[[int], Callable[[], object]]) -> None:
    assert 1.8 < growth(act, 400) < 2.2


def late_request(ends: Ends) -> None:
    ends.arm("exchange_delay", "x", late="request")
    ends.say(UPSTREAM, b"x" + b"a" * HELD)


def late_reply(ends: Ends) -> None:
    ends.arm("exchange_delay", "x")
    ends.say(UPSTREAM, b"x" + b"a" * HELD)
    ends.say(DOWNSTREAM, b"x" + b"a" * HELD)


def _late_replies(ends: Ends) -> None:
    ends.arm("exchange_delay", "x")
    ends.say(UPSTREAM, b"x" * HELD)
    ends.say(DOWNSTREAM, b"x" * HELD)
    # Only what control does lets them go.
    ends.timers.set.clear()


def removed_fault(ends: Ends) -> None:
    _late_replies(ends)
    ends.conversation.disarm("exchange_delay_downstream")


def codec_that_fails(ends: Ends) -> None:
    _late_replies(ends)
    ends.say(UPSTREAM, b"!")


def client_that_leaves(ends: Ends) -> None:
    _late_replies(ends)
    ends.conversation.close()


HELD = 10 * TURN


@pytest.mark.parametrize("codec", [Letters, UnorderedLetters])
@pytest.mark.parametrize(
    "hold", [late_request, late_reply, removed_fault, codec_that_fails, client_that_leaves]
)
def test_what_is_held_goes_out_in_slices(
    hold: Callable[[Ends], None], codec: type[Letters]
) -> None:
    ends = Ends(codec())
    hold(ends)

    def done() -> int:
        over = sum(isinstance(record, PerturbationEnded) for record in ends.records)
        return max(len(ends.up.out) - ends.up_before, len(ends.down.out), over)

    ends.up_before = len(ends.up.out)
    seen = [done()]
    assert seen[0] <= TURN
    while ends.timers.set:
        ends.timers.turn()
        seen.append(done())
    assert seen[-1] >= HELD
    # A timer of the fault, and one that goes on.
    assert max(after - before for before, after in pairwise(seen)) <= 2 * TURN
    assert ends.up.reading and ends.down.reading


def test_an_armed_conversation_has_as_much_unanswered_as_any() -> None:
    most = UNANSWERED_LIMIT // EXCHANGE_COST
    ends = Ends(Letters()).arm("exchange_delay", "x")
    ends.say(UPSTREAM, b"a" * (most - 1))
    assert not ends.conversation.full(UPSTREAM)
    ends.say(UPSTREAM, b"a")
    assert ends.conversation.full(UPSTREAM)
    assert not ends.conversation.full(DOWNSTREAM)


def test_the_measure_sees_a_square() -> None:
    def act(count: int) -> Callable[[], object]:
        parts = [CountedBytes(b"a")] * count
        return lambda: [sum(map(len, parts[:end])) for end in range(count)]

    assert growth(act, 200) > 3.5


class Receiver:
    """A socket that takes what it is told to."""

    def __init__(self) -> None:
        self.room = 0
        self.got = b""

    def fileno(self) -> int:
        return -1

    def send(self, data: Any) -> int:
        if not self.room:
            raise BlockingIOError
        taken = bytes(data[: self.room])
        self.got += taken
        self.room -= len(taken)
        return len(taken)


class Watcher:
    """The loop, and the only watcher on it."""

    writable: Callable[[], None]

    def io(self, fd: int, events: int) -> Watcher:
        return self

    def start(self, callback: Callable[[], None]) -> None:
        self.writable = callback

    def stop(self) -> None:
        """It is called by the test alone."""


class Owner:
    """A link that only listens."""

    def regulate(self) -> None:
        """It reads nothing."""

    def end_sent(self) -> None:
        raise AssertionError

    receiver_gone = end_sent

    def failed(self, error: Exception) -> None:
        raise error


def test_a_backlog_of_single_bytes_costs_their_bytes() -> None:
    receiver, loop = Receiver(), Watcher()
    outlet = Outlet(Owner(), loop)
    outlet.open(receiver)
    data = bytes(range(256)) * 1024
    for at in range(len(data)):
        outlet.send(data[at : at + 1])
    outlet.send(data)
    assert outlet.waiting == 2 * len(data)
    backlog = outlet._backlog
    assert backlog is not None
    assert len(backlog) <= len(data) // BUFFER + 2
    while outlet.waiting:
        receiver.room = 10_007
        loop.writable()
    assert receiver.got == data + data
