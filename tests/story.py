"""Journals written by hand, for tests of what is decided from them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from seism.journal import COMPLETE, SCHEMA, ClientRequest, Entry, LoadDone, Manifest, Missing, Phase
from seism.model import FRONT
from seism.verdict.rules import Rules
from seism_middleware.contract import (
    Attribution,
    Census,
    Clock,
    Hello,
    LoggedError,
    OpenConnection,
    PerturbationBegan,
    PerturbationEnded,
    RequestBegun,
    RequestEnded,
)

LOGGED = (LoggedError("app", "app:12", exception="app.BackendError"),)


class Story:
    """Tells a run as its journal would. Time passes by 10 ms with each request."""

    def __init__(
        self, *steps: tuple[str, str, str], rules: Rules | None = None, toxicity: float = 1.0
    ) -> None:
        """``steps``: (name, backend, type) of each planned perturbation."""
        self.plan = tuple(
            {"name": name, "backend": backend, "type": type_, "toxic": _toxic(name, type_)}
            | ({"front": True} if backend == FRONT else {})
            | ({"toxicity": toxicity} if toxicity < 1 else {})
            for name, backend, type_ in steps
        )
        self.now = 100.0
        self.entries: list[Entry] = []
        self._requests = 0
        self._sent = 0
        self._perturbations = 0
        rules_ = asdict(rules or Rules())
        self.add(Manifest(SCHEMA, "0", 1, "clock", "2026-01-01", self.plan, rules_))

    def add(self, record: Any, worker: str = "w") -> None:
        seq = len(self.entries) + 1
        self.entries.append(Entry(seq, self.now, worker, None, record))

    def phase(self, phase: str, step: int | None = None) -> None:
        self.now += 1
        self.add(Phase(phase, self.now, step))

    def mixed(self, *active: int) -> None:
        """A stretch of the mixed load, in which the steps ``active`` last."""
        self.now += 1
        self.add(Phase("mixed", self.now, active=active))

    def request(self, route: str = "GET /", status: int | None = 200, **fields: Any) -> str:
        """One observation; a 503 has good manners unless told otherwise."""
        self.now += 0.01
        self._requests += 1
        method, _, path = route.partition(" ")
        key = f"w-{self._requests}"
        if status == 503:
            fields = {"retry_after": True, "errors": LOGGED} | fields
        fields = {"body": "complete" if status else "none", "duration": 0.005} | fields
        self.add(RequestBegun(key, method, self.now, path, fields.get("client", "")))
        self.add(RequestEnded(key, method, path, self.now, status=status, **fields))
        return key

    def sent(
        self,
        path: str = "/",
        outcome: str = COMPLETE,
        status: int | None = 200,
        seconds: float = 0.006,
        seen: dict[str, Any] | None = None,
        **answer: Any,
    ) -> str:
        """One request of the load, and what was observed of it: ``seen`` (``{}``: the same as its
        client saw; None: nothing). ``answer``: further fields of ``ClientRequest``. Returns the id
        of the observation, or of the load.
        """
        self._sent += 1
        client, at = f"load-{self._sent}", self.now + 0.01
        key = client
        if seen is not None:
            fields = {"route": f"GET {path}", "status": status, "duration": seconds} | seen
            key = self.request(client=client, **fields)
        else:
            self.now = at
        self.add(ClientRequest(client, f"GET {path}", at, seconds, outcome, status, **answer))
        return key

    def requests(
        self, count: int, route: str = "GET /", status: int | None = 200, **f: Any
    ) -> None:
        for _ in range(count):
            self.request(route, status, **f)

    def perturb(self, step: int, *hit: str, exact: bool = True, role: str = "hit") -> str:
        """A perturbation of the step, attributed to the requests ``hit``."""
        self._perturbations += 1
        key = f"p{self._perturbations}"
        plan = self.plan[step]
        client = f"127.0.0.1:{self._perturbations}" if plan["type"] != "down" else ""
        self.add(
            PerturbationBegan(
                key, plan["backend"], plan["toxic"], plan["type"], self.now, client=client,
                offset=0 if client else None,
            )
        )  # fmt: skip
        self.add(PerturbationEnded(key, self.now, "passed", offset=10 if client else None))
        for request in hit:
            self.add(Attribution(key, request, "ledger", exact, role))
        return key

    def perturbed(self, step: str) -> bool:
        """Whether a perturbation of ``step`` has been told of."""
        toxic = next(planned["toxic"] for planned in self.plan if planned["name"] == step)
        return any(
            isinstance(entry.record, PerturbationBegan) and entry.record.toxic == toxic
            for entry in self.entries
        )

    def census(self, *open_: tuple[str, str], rss: int | None = None) -> None:
        """``open_``: (perturbation that the connection suffered, its last user)."""
        connections = tuple(
            OpenConnection("db", f"127.0.0.1:{perturbation.removeprefix('p')}", user, user)
            for perturbation, user in open_
        )
        self.add(Census("c", self.now, rss, connections))

    def load(
        self, requests: int, no_response: int = 0, actions: dict[str, Any] | None = None
    ) -> None:
        routes = {"GET /": {"no_response": no_response}}
        self.add(LoadDone("segment", requests, routes, actions))

    def missing(self, count: int) -> None:
        self.add(Missing(count))

    def worker(self, name: str, interface: str = "wsgi") -> None:
        self.add(Hello(name, 1, Clock("clock", self.now), interface), name)

    def end(self) -> list[Entry]:
        self.phase("end")
        return self.entries


def _toxic(name: str, type_: str) -> str:
    return "down" if type_ == "down" else name
