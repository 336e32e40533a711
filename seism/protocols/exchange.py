"""Faults that any protocol can have: late, cut off, never answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from seism.options import option
from seism.protocols.base import Exchange
from seism.protocols.fault import Answer, Close, Cut, Delay, Fault, Hang, Reaction, Replace, Reset
from seism.toxics.base import HOUR_MS, Rng

WHEN = ("request", "reply", "served")
_WHEN_HELP = (
    "request: the backend never gets it; reply: after so many bytes of the reply; "
    "served: the backend has answered, and none of it arrives"
)


@dataclass(frozen=True, slots=True)
class ExchangeDelay(Fault):
    """One exchange is slow: its request, or its reply, comes late.

    What the client sends after a late request waits behind it, and so do the replies behind
    a late one, where the protocol has them in order.
    """

    type: ClassVar[str] = "exchange_delay"
    phases: ClassVar[tuple[str, ...]] = ()

    delay: int = option(1000, help="how late", unit="ms", minimum=0, maximum=HOUR_MS)
    late: str = option(
        "reply", help="reply: it is carried out in time; request: it is not",
        choices=("reply", "request"),
    )  # fmt: skip

    def reaction(self, exchange: Exchange, rng: Rng) -> Reaction:
        return Delay(self.delay / 1000, request=self.late == "request")


@dataclass(frozen=True, slots=True)
class ExchangeHang(Fault):
    """One request, and all after it on its connection, are never answered.

    Removing it closes these connections.
    """

    type: ClassVar[str] = "exchange_hang"
    phases: ClassVar[tuple[str, ...]] = ()

    when: str = option(
        "request", help="request: the backend never gets it; served: its reply is lost",
        choices=("request", "served"),
    )  # fmt: skip

    def reaction(self, exchange: Exchange, rng: Rng) -> Reaction:
        return Hang(served=self.when == "served")


@dataclass(frozen=True, slots=True)
class ExchangeClose(Fault):
    """The connection is closed (FIN) in one exchange."""

    type: ClassVar[str] = "exchange_close"
    phases: ClassVar[tuple[str, ...]] = ()

    when: str = option("request", help=_WHEN_HELP, choices=WHEN)
    bytes: int = option(
        1, help="of the reply, where when = reply", unit="bytes", minimum=0, maximum=1 << 40
    )

    def reaction(self, exchange: Exchange, rng: Rng) -> Reaction:
        return _end(Close(), self.when, self.bytes)


@dataclass(frozen=True, slots=True)
class ExchangeReset(Fault):
    """The connection is reset (RST) in one exchange."""

    type: ClassVar[str] = "exchange_reset"
    phases: ClassVar[tuple[str, ...]] = ()

    when: str = option("request", help=_WHEN_HELP, choices=WHEN)
    bytes: int = option(
        1, help="of the reply, where when = reply", unit="bytes", minimum=0, maximum=1 << 40
    )

    def reaction(self, exchange: Exchange, rng: Rng) -> Reaction:
        return _end(Reset(), self.when, self.bytes)


def _end(end: Close | Reset, when: str, size: int) -> Reaction:
    if when == "request":
        return Answer(b"", end)
    return Cut(end, size) if when == "reply" else Replace(b"", end)
