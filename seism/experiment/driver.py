"""The runner's side of the load generator."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import IO, Any

from seism.errors import SeismError
from seism.experiment.config import REQUESTS
from seism.experiment.supervisor import Child

Advance = Callable[[int, int], None]
"""(done, of): how far the segment is."""
Check = Callable[..., None]
"""(requests, failed) of the segment that goes on; raises what is to end the run."""
Clients = Callable[[Iterable[list[Any]]], object]
"""Takes the fields of records ``journal.ClientRequest``."""


class LoadDriver:
    """Tells the load generator what to send and hears what came of it.

    ``actions``: some of what it sends is to be done once.
    """

    flowing = False
    """Whether the load goes on between segments."""

    def __init__(
        self, child: Child, advance: Advance, check: Check, clients: Clients, actions: bool
    ) -> None:
        """``clients`` takes what the clients saw, as it comes."""
        self._actions = actions
        self._clients = clients
        self._stdin: IO[bytes] = child.stdin
        self._stdout: IO[bytes] = child.stdout
        self._advance = advance
        self._check = check

    def tell(self, values: dict[str, Any]) -> None:
        try:
            self._stdin.write(json.dumps(values).encode() + b"\n")
            self._stdin.flush()
        except OSError:
            raise SeismError("the load generator is gone") from None

    def segment(
        self, name: str, amount: float, route: int | None = None, unit: str = REQUESTS,
        least_s: float = 0, enough: Callable[[], bool] | None = None,
        leave: Mapping[str, float] | None = None, *, together: bool = False,
    ) -> dict[str, Any]:  # fmt: skip
        """The totals, as the journal takes them; see ``Session.send``.

        It lasts ``least_s`` seconds at least, and goes on until there is ``enough``. ``leave``: a
        ``share`` of the clients leaves ``within`` this time (seconds). ``together``: all workers
        send those of ``route``.
        """
        counted = int(amount) if unit == REQUESTS else amount
        order: dict[str, Any] = {"segment": name, unit: counted}
        if least_s and unit == REQUESTS:
            order["seconds"] = least_s
        if enough is not None:
            order["open"] = True
        if leave:
            order["leave"] = dict(leave)
        if together:
            order["all"] = True
        return self._ask(order if route is None else {**order, "route": route}, enough)

    def flow(
        self, name: str, amount: int, after: int, least_s: float, leave: Mapping[str, float]
    ) -> None:
        """Send the requests of a segment, and go on with what ``go_on`` says; see ``segment``.

        ``amount`` and ``after``: requests of each worker in this segment, and in the next.
        """
        order = {"segment": name, REQUESTS: amount, "flow": after, "seconds": least_s}
        self.tell({**order, "leave": dict(leave)} if leave else order)
        self._hear("dealt")

    def go_on(self, name: str, at: float, enough: Callable[[], bool]) -> list[dict[str, Any]]:
        """The totals of the segment that flows, and of the one ``name`` that began ``at``, once
        there is ``enough`` of that.
        """
        self.tell({"next": name, "at": at})
        return [self._hear("segment", enough), self._hear("segment", enough)]

    def check(self, name: str) -> dict[str, Any] | None:
        """How often the actions since the last check were done; None where there are none."""
        if not self._actions:
            return None
        found: dict[str, Any] = self._ask({"check": name})["actions"]
        return found

    def _ask(
        self, order: dict[str, Any], enough: Callable[[], bool] | None = None
    ) -> dict[str, Any]:
        self.tell(order)
        return self._hear("segment", enough)

    def _hear(self, what: str, enough: Callable[[], bool] | None = None) -> dict[str, Any]:
        """The next answer, which has the key ``what``."""
        for line in self._stdout:
            answer: dict[str, Any] = json.loads(line)
            self._clients(answer.pop("clients", ()))
            if "progress" in answer:
                self._advance(answer["progress"], answer["of"])
                self._check(answer["progress"], answer["failed"])
                if enough is not None and enough():
                    self.tell({"enough": True})
                    enough = None
            else:
                return answer
        raise SeismError("the load generator is gone")
