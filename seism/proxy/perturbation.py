"""The account of perturbations: each that begins is ended, exactly once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from seism.clock import Clock
from seism_middleware.contract import PerturbationBegan, PerturbationEnded, PerturbedExchange

logger = logging.getLogger(__name__)

Emit = Callable[[PerturbationBegan | PerturbationEnded], None]
"""Takes each record as it happens. Called on the event loop: it must not block."""


class Perturbation:
    """One that has begun; the only way to end it is here, and a second end is ignored."""

    __slots__ = ("_account", "id", "open")

    def __init__(self, account: Account, id: str) -> None:
        self._account = account
        self.id = id
        self.open = True

    def end(
        self,
        outcome: str,
        offset: int | None = None,
        draws: int = 0,
        drawn: tuple[float, ...] = (),
        **exchange: Any,
    ) -> None:
        """The fields are those of ``PerturbationEnded``; ``exchange``: those of one exchange."""
        if self.open:
            self.open = False
            self._account._ended(self.id, outcome, offset, draws, drawn, **exchange)


class Account:
    """Numbers perturbations ``p1``, ``p2``, ... and emits their two records."""

    def __init__(self, emit: Emit, clock: Clock) -> None:
        self._emit = emit
        self._clock = clock
        self._count = 0

    def begin(
        self,
        proxy: str,
        toxic: str,
        type: str,
        *,
        stream: str = "",
        client: str = "",
        listen: str = "",
        source: str = "",
        offset: int | None = None,
        since: int | None = None,
        connection: int | None = None,
        chance: float | None = None,
        exchange: PerturbedExchange | None = None,
    ) -> Perturbation:
        """Emits the begin; the fields are those of ``PerturbationBegan``."""
        self._count += 1
        perturbation = Perturbation(self, f"p{self._count}")
        self._say(
            PerturbationBegan(
                perturbation=perturbation.id,
                proxy=proxy,
                toxic=toxic,
                type=type,
                at=self._clock.now(),
                stream=stream,
                client=client,
                listen=listen,
                source=source,
                offset=offset,
                since=since,
                connection=connection,
                chance=chance,
                exchange=exchange,
            )
        )
        return perturbation

    def _ended(
        self,
        id: str,
        outcome: str,
        offset: int | None,
        draws: int,
        drawn: tuple[float, ...],
        **exchange: Any,
    ) -> None:
        now = self._clock.now()
        self._say(PerturbationEnded(id, now, outcome, offset, draws, drawn, **exchange))

    def _say(self, record: PerturbationBegan | PerturbationEnded) -> None:
        try:
            self._emit(record)
        except Exception:
            # A receiver's mistake must not become a fault that nobody asked for.
            logger.exception("%s could not be handed on", record)
