"""The account of perturbations: each that begins is ended, exactly once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from seism.clock import Clock
from seism.proxy.hold import Holds
from seism_middleware.contract import PerturbationBegan, PerturbationEnded, PerturbedExchange

logger = logging.getLogger(__name__)

Emit = Callable[[PerturbationBegan | PerturbationEnded], None]
"""Takes each record as it happens. Called on the event loop: it must not block."""


class Perturbation:
    """One that has begun; the only way to end it is here, and a second end is ignored."""

    __slots__ = ("_account", "_client", "_held", "id", "open")

    def __init__(self, account: Account, id: str, client: str = "") -> None:
        self._account = account
        self._client = client
        self._held = 0.0
        self.id = id
        self.open = True

    def wait(self, go_on: Callable[[], None]) -> bool:
        """Whether an observer looks first; then ``go_on`` is called once it has, or in time."""
        holds = self._account.holds
        if not self.open or holds is None or not holds.wanted(self._client):
            return False

        def release(held: float) -> None:
            self._held = held
            go_on()

        holds.wait(self.id, self._client, release)
        return True

    def end(
        self,
        outcome: str,
        offset: int | None = None,
        draws: int = 0,
        drawn: tuple[float, ...] = (),
        asked: tuple[int, ...] = (),
        answers: tuple[int, ...] = (),
        **exchange: Any,
    ) -> None:
        """The fields are those of ``PerturbationEnded``; ``exchange``: those of one exchange."""
        if self.open:
            self.open = False
            now = self._account.now()
            self._account.ended(
                PerturbationEnded(
                    self.id,
                    now,
                    outcome,
                    offset,
                    draws,
                    drawn,
                    held=self._held,
                    asked=asked,
                    answers=answers,
                    **exchange,
                )
            )


class Account:
    """Numbers perturbations ``p1``, ``p2``, ... and emits their two records."""

    def __init__(self, emit: Emit, clock: Clock) -> None:
        self._emit = emit
        self.now = clock.now
        self._count = 0
        self.holds: Holds | None = None
        """Who wants to look before a toxic acts; None: nobody may."""

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
        trace: str = "",
    ) -> Perturbation:
        """Emits the begin; the fields are those of ``PerturbationBegan``."""
        self._count += 1
        perturbation = Perturbation(self, f"p{self._count}", client)
        # A reset that nobody has asked for has no stage that could wait.
        hold = self.holds.wanted(client) if self.holds is not None and stream else 0.0
        self._say(
            PerturbationBegan(
                perturbation=perturbation.id,
                proxy=proxy,
                toxic=toxic,
                type=type,
                at=self.now(),
                stream=stream,
                client=client,
                listen=listen,
                source=source,
                offset=offset,
                since=since,
                connection=connection,
                chance=chance,
                exchange=exchange,
                trace=trace,
                hold=hold,
            )
        )
        return perturbation

    def ended(self, record: PerturbationEnded) -> None:
        """Emits the end."""
        self._say(record)

    def _say(self, record: PerturbationBegan | PerturbationEnded) -> None:
        try:
            self._emit(record)
        except Exception:
            # A receiver's mistake must not become a fault that nobody asked for.
            logger.exception("%s could not be handed on", record)
