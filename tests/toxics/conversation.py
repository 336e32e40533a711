"""A stage's conversation as a script: one event a line, the commands that it must give."""

from __future__ import annotations

from random import Random
from typing import Any

from seism.toxics.base import Chunk, Command, Commands, Ended, Eof, Forward, Toxic


class Conversation:
    """Plays events to one stage; offsets are counted, times are seconds."""

    def __init__(self, toxic: Toxic, seed: int = 1) -> None:
        self.stage = toxic.stage(Random(seed))
        self.offset = 0
        self.commands: list[Command] = []
        """All that were given so far."""

    def started(self, *, at: float) -> list[Command]:
        return self._heard(self.stage.started(at))

    def data(self, data: bytes, *, at: float) -> list[Command]:
        chunk = Chunk(data, self.offset)
        self.offset = chunk.end
        return self._heard(self.stage.data(chunk, at))

    def eof(self, *, at: float) -> list[Command]:
        return self._heard(self.stage.eof(Eof(self.offset), at))

    def due(self, *, at: float) -> list[Command]:
        return self._heard(self.stage.due(at))

    def updated(self, toxic: Any, *, at: float) -> list[Command]:
        return self._heard(self.stage.updated(toxic, at))

    def removed(self, *, at: float) -> list[Command]:
        return self._heard(self.stage.removed(at))

    @property
    def forwarded(self) -> bytes:
        """All bytes that were forwarded so far."""
        items = [command.item for command in self.commands if isinstance(command, Forward)]
        return b"".join(item.data for item in items if isinstance(item, Chunk))

    @property
    def outcomes(self) -> list[str]:
        return [command.outcome for command in self.commands if isinstance(command, Ended)]

    def _heard(self, commands: Commands) -> list[Command]:
        heard = list(commands)
        self.commands += heard
        return heard
