"""A worker of ``pytest --seism``: runs each test unperturbed, perturbed, and unperturbed again.

The worker goes on as long as a test is afterwards as it was before. Once one is not, the worker
ends, and another one, with new connections, goes on behind that test.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

from seism.journal import Follower, Reached
from seism.testing.clients import Clients, Seen
from seism.testing.sidecar import Running
from seism_middleware.contract import PerturbationBegan

LEFT = 77
"""Exit code of a worker in which a test was not as before."""
MAX_TURNS = 16
"""Exchanges of one test with one backend that are perturbed."""


@dataclass(frozen=True, slots=True)
class Order:
    """What one worker is to try."""

    address: str
    token: str
    journal: str
    output: str
    backend: str
    name: str
    """Of what is tried, as reports have it."""
    toxic: dict[str, Any]
    """Empty: the backend is down."""
    ignored: Sequence[str]
    """Addresses of backends and proxies."""
    after: str = ""
    """The test behind which it goes on; empty: from the beginning."""
    turn: int = 0
    """The exchange of that test behind which it goes on."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One test under one perturbation, or without any (``turn`` is -1)."""

    test: str
    turn: int
    before: list[Seen]
    during: list[Seen] = field(default_factory=list)
    after: list[Seen] = field(default_factory=list)
    passed: bool = False
    """Without a perturbation."""
    recovers: bool = True
    """The run after it had no error outside the test itself, so that it can be judged."""
    pruned: str = ""
    """The test that makes the same requests, and was tried instead."""


class Probe:
    """The plug-in of a worker."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._control = Running(order.address, order.token, Path(order.journal))
        self._journal = Follower(Path(order.journal))
        self._clients = Clients(frozenset(order.ignored))
        self._waiting = order.after
        self._armed: dict[str, Any] | None = None
        self._pending: dict[str, Any] | None = None
        """The toxics in force and of the next call of a test; empty: the backend is down."""
        self._known: dict[tuple[Any, ...], str] = {}
        """The requests of a test, and which test made them first."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool:
        begin = 1
        if self._waiting:
            if item.nodeid != self._waiting:
                return True
            self._waiting = ""
            begin = self._order.turn + 1
            if begin > MAX_TURNS or not self._order.toxic:
                return True
        between = nextitem if nextitem is not None else item.session.items[0]
        between = None if between is item else between  # type: ignore[assignment]
        self._say({"begun": item.nodeid})
        self._try(item, between, begin)
        return True

    def _try(self, item: pytest.Item, between: pytest.Item | None, begin: int) -> None:
        bytes_before = self._received()
        passed, before = self._run(item, between)
        uses = self._received() != bytes_before
        signature = tuple((seen.name, seen.status) for seen in before)
        if not passed or not before or not uses:
            self._tell(Attempt(item.nodeid, -1, before, passed=passed))
            return
        if self._known.setdefault(signature, item.nodeid) != item.nodeid:
            self._tell(Attempt(item.nodeid, -1, before, passed=True, pruned=self._known[signature]))
            return
        for turn in self._turns(begin):
            fired_before = self._fired()
            self._say({"turn": turn})
            self._perturb(turn)
            try:
                _, during = self._run(item, between)
            finally:
                self._undo()
            if self._fired() == fired_before:
                return
            again, after = self._run(item, between)
            recovers = again or bool(after)
            self._tell(Attempt(item.nodeid, turn, before, during, after, True, recovers))
            if not again:
                os._exit(LEFT)

    def _turns(self, begin: int) -> Iterator[int]:
        if not self._order.toxic:
            return iter([0])
        return iter(range(begin, MAX_TURNS + 1))

    def _run(self, item: pytest.Item, between: pytest.Item | None) -> tuple[bool, list[Seen]]:
        """Whether it passed, and what its requests came to."""
        if hasattr(item, "_initrequest"):
            item._initrequest()
        self._clients.patch()
        self._clients.seen = []
        reports = runtestprotocol(item, nextitem=between, log=False)
        return all(not report.failed for report in reports), self._clients.seen

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Any:
        self._clients.patch()
        self._clients.following = True
        self._arm()
        try:
            return (yield)
        finally:
            self._undo()
            self._clients.following = False

    def _perturb(self, turn: int) -> None:
        """Have the next call perturbed: what prepares a test is not."""
        self._pending = {**self._order.toxic, "turn": turn} if self._order.toxic else {}

    def _arm(self) -> None:
        if self._pending is None:
            return
        self._armed, self._pending = self._pending, None
        if self._armed:
            self._control.add_toxic(self._order.backend, self._armed)
        else:
            self._control.enable(self._order.backend, False)

    def _undo(self) -> None:
        armed, self._armed, self._pending = self._armed, None, None
        if armed:
            self._control.remove_toxic(self._order.backend, armed["name"])
        elif armed is not None:
            self._control.enable(self._order.backend, True)

    def _fired(self) -> int:
        self._control.census()
        return sum(
            isinstance(entry.record, PerturbationBegan)
            and entry.record.proxy == self._order.backend
            for entry in self._journal.entries()
        )

    def _received(self) -> int:
        """Bytes that clients have sent to the backend."""
        self._control.census()
        reached = [e.record for e in self._journal.entries() if isinstance(e.record, Reached)]
        found: int = reached[-1].proxies.get(self._order.backend, {}).get("bytes", 0)
        return found

    def _tell(self, attempt: Attempt) -> None:
        self._say({"attempt": asdict(attempt)})

    def _say(self, values: dict[str, Any]) -> None:
        with open(self._order.output, "a", encoding="utf-8") as output:
            output.write(json.dumps(values) + "\n")
