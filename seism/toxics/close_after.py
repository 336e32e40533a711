"""The connection is closed or reset after so many messages or bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from seism.errors import ConfigurationError
from seism.options import option
from seism.toxics.base import Commands, Rng, Stage, Toxic
from seism.toxics.limit import LARGEST, Limit


@dataclass(frozen=True, slots=True)
class CloseAfter(Toxic):
    """Let so much through in this direction, then close both sides, or reset them."""

    type: ClassVar[str] = "close_after"

    messages: int = option(
        0, help="how many messages pass, 0: any number; without a protocol, what the sender"
        " sends at once counts as one",
        minimum=0, maximum=LARGEST,
    )  # fmt: skip
    bytes: int = option(
        0, help="how many bytes pass, 0: any number", unit="B", minimum=0, maximum=LARGEST
    )
    reset: bool = option(False, help="true: RST instead of FIN")

    def __post_init__(self) -> None:
        if not self.messages and not self.bytes:
            raise ConfigurationError(
                f"messages or bytes is required, one of them must be 1 to {LARGEST}"
                " (messages, or B)"
            )

    def stage(self, rng: Rng) -> Stage:
        return _Counter(self)


class _Counter(Limit):
    def __init__(self, toxic: CloseAfter) -> None:
        super().__init__(
            bytes=toxic.bytes or None, chunks=toxic.messages or None, reset=toxic.reset
        )

    def updated(self, toxic: CloseAfter, now: float) -> Commands:
        return self.changed(
            bytes=toxic.bytes or None, chunks=toxic.messages or None, reset=toxic.reset
        )
