"""What an evidence is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from seism_middleware.contract import PerturbationBegan, PerturbationEnded
from seism_middleware.ledger import Ledger
from seism_middleware.traffic import Claim, Connection, Request


class Case:
    """One perturbation: what is known of it, and to which requests it has been attributed."""

    __slots__ = (
        "attributed",
        "began",
        "connection",
        "due",
        "ended",
        "owned",
        "possible",
        "sure",
        "trap",
    )

    def __init__(self, began: PerturbationBegan) -> None:
        self.began = began
        self.ended: PerturbationEnded | None = None
        self.connection: Connection | None = None
        """The connection that was perturbed, once this worker knows that it has it."""
        self.attributed: dict[str | None, str] = {}
        """Request's id -> role."""
        self.sure: set[str | None] = set()
        """Those of them that are exact."""
        self.trap: Callable[[Claim], None] | None = None
        self.owned = False
        """The connection is not known, but it is this process's."""
        self.possible: Finding | None = None
        """What is told of such a connection if nothing better becomes known until ``due``."""
        self.due: float | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """One request that was hit; None where the bytes are known to be of no request."""

    request: Request | None
    exact: bool
    how: str = ""
    """As in ``contract.Attribution``."""


@dataclass(frozen=True, slots=True)
class Finding:
    """An answer. Exact is only what cannot be otherwise; of several, each is possible."""

    evidence: str
    found: tuple[Found, ...]
    idle: bool = False
    """Nobody may have waited: the first one to use the connection afterwards is harmed."""

    @property
    def exact(self) -> bool:
        return bool(self.found) and all(each.exact for each in self.found)

    @property
    def requests(self) -> set[Request | None]:
        return {each.request for each in self.found}


@dataclass(frozen=True, slots=True)
class Sources:
    """What a kind of evidence is made of: its factory is called with this."""

    ledger: Ledger
    recent: Callable[[], Iterable[Request]]
    """The requests in flight, and some that are over."""
    blind: Callable[[], bool]
    """Whether the process may have connections that the ledger does not see."""
    hold: Callable[[list[str]], None]
    """Have the proxy hold what it perturbs on these local addresses."""


class Evidence(Protocol):
    """One way to know; it never asks what is so now, always what was so at ``began.at``."""

    def first(self, case: Case) -> Finding | None:
        """Who was hit when the perturbation began; None: this evidence does not know."""

    def further(self, case: Case) -> Finding | None:
        """Who else was, now that it has ended; None: this evidence does not know."""
