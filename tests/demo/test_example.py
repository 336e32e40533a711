"""Each example app, driven for real: what was planted shows, and nothing else does.

The judge below is the rules of the verdict in their simplest form, so that the apps
are known to be right without the tool that they demonstrate.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import time
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

import seism.demo
from seism.demo.backends import Backends, free_port
from seism.experiment.load import Route, deal
from seism.experiment.supervisor import Supervisor
from seism.rng import Seed

from .forwarder import Forwarder

SOURCE = Path(seism.demo.__file__).parent
DEADLINE_S = 1.0
READY_S = 20.0
POOLED = 16
"""What the app's pools may keep open to the database when all is over."""
LEAKED = 8
"""More than the requests that leak."""


@dataclass(frozen=True)
class Answer:
    route: str
    status: int | None
    retry_after: bool
    logged: int
    duration: float


class App:
    """The example app in its own process, behind two forwarders."""

    def __init__(
        self,
        interface: str,
        addresses: dict[str, str],
        stack: ExitStack,
        folder: Path,
    ) -> None:
        with open(SOURCE / interface / "seism.toml", "rb") as file:
            self.config = tomllib.load(file)
        self.forwarders = {
            name: stack.enter_context(Forwarder(address)) for name, address in addresses.items()
        }
        self.port = free_port()
        self.log = folder / f"{interface}.log"
        routes = [Route(**route) for route in _with_method(self.config["load"]["route"])]
        self.routes = [*routes, Route("GET", "/__lbheartbeat__")]
        app = self.config["app"]
        supervisor = stack.enter_context(Supervisor())
        self.guard = supervisor.spawn(
            "app",
            [self._filled(word) for word in app["command"]],
            cwd=SOURCE / interface,
            env=os.environ | {key: self._filled(value) for key, value in app["env"].items()},
            log=self.log,
        ).process.pid
        self._wait(supervisor)

    def segment(self, seed: int, requests: int) -> list[Answer]:
        """``requests`` of each of 8 workers; all have ended when it returns."""
        streams = [Seed(seed).stream("test", worker) for worker in range(8)]
        hands = deal([route.weight for route in self.routes], requests, streams)
        with ThreadPoolExecutor(len(hands)) as pool:
            answers = [answer for hand in pool.map(self._work, hands) for answer in hand]
        said = self.log.read_text(errors="replace")
        lines = re.findall(r"(backend (?:db|cache): \w+|unhandled) \[(\w+)\]", said)
        logged: dict[str, int] = defaultdict(int)
        for _, crash_id in lines:
            logged[crash_id] += 1
        return [
            Answer(route, status, retry_after, logged[crash_id], duration)
            for route, status, retry_after, crash_id, duration in answers
        ]

    def connections(self) -> set[int]:
        """Local ports of the app's open connections to the database."""
        port = int(self.forwarders["db"].address.rpartition(":")[2])
        (process,) = psutil.Process(self.guard).children()
        return {
            connection.laddr.port
            for connection in process.net_connections("tcp")
            if connection.raddr and connection.raddr.port == port
        }

    def _work(self, hand: list[int]) -> list[tuple[str, int | None, bool, str, float]]:
        answers = []
        for index in hand:
            route = self.routes[index]
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
            began = time.monotonic()
            try:
                connection.request(route.method, route.path, route.body, route.headers)
                response = connection.getresponse()
                body = response.read()
            except (OSError, http.client.HTTPException):
                answers.append((route.name, None, False, "", time.monotonic() - began))
                continue
            finally:
                connection.close()
            duration = time.monotonic() - began
            crash_id = json.loads(body).get("crash_id", "")
            retry_after = response.getheader("Retry-After") is not None
            answers.append((route.name, response.status, retry_after, crash_id, duration))
            time.sleep(0.01)
        return answers

    def _filled(self, text: str) -> str:
        text = text.replace("{port}", str(self.port))
        for name, forwarder in self.forwarders.items():
            text = text.replace("{" + name + ".address}", forwarder.address)
        return text

    def _wait(self, supervisor: Supervisor) -> None:
        deadline = time.monotonic() + READY_S
        while supervisor.exited() is None and time.monotonic() < deadline:
            ((_, status, *_),) = self._work([len(self.routes) - 1])
            if status == 200:
                return
            time.sleep(0.05)
        pytest.fail("\n".join(supervisor.tail("app", 20)))


def _with_method(routes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"method": "GET", **route} for route in routes]


def colour(during: list[Answer], after: list[Answer], leaked: bool) -> tuple[str, str]:
    """Colour and reason of one cell, by the rules of the verdict."""
    for answer in during:
        if answer.status not in (200, 503):
            return "red", f"status {answer.status}"
    late = [answer for answer in after if answer.status != 200 or answer.duration > DEADLINE_S]
    if late:
        return "red", f"not recovered: {len(late)} of {len(after)}"
    if leaked:
        return "red", "leaks connections"
    for answer in during:
        if answer.status == 503 and not (answer.retry_after and answer.logged == 1):
            return "amber", f"503 logged {answer.logged} times, Retry-After {answer.retry_after}"
        if answer.duration > DEADLINE_S:
            return "amber", f"took {answer.duration:.1f} s"
    return "green", ""


@pytest.fixture(scope="module")
def backends() -> Iterator[Backends]:
    with Backends() as running:
        yield running


@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
def test_what_was_planted_shows_and_nothing_else(
    interface: str, backends: Backends, tmp_path: Path
) -> None:
    with open(SOURCE / interface / "planted.toml", "rb") as file:
        planted = tomllib.load(file)["weakness"]
    found: dict[tuple[str, str], str] = {}
    reasons: dict[tuple[str, str], str] = {}
    broken: set[str] = set()
    with ExitStack() as stack:
        app = App(interface, backends.addresses, stack, tmp_path)
        load = app.config["load"]
        steady = app.segment(0, load["steady"])
        assert {answer.status for answer in steady} == {200}
        for number, perturbation in enumerate(app.config["perturbation"], 1):
            forwarder = app.forwarders[perturbation["backend"]]
            before = app.connections()
            forwarder.perturb(perturbation["type"])
            during = app.segment(number, load["during"])
            made = app.connections() - before
            forwarder.undo()
            after = app.segment(number, load["after"])
            stayed = made & app.connections()
            for route in {answer.route for answer in during} - broken:
                mine = [answer for answer in during if answer.route == route]
                then = [answer for answer in after if answer.route == route]
                failures = sum(answer.status == 503 for answer in mine)
                leaked = route == "GET /export" and 0 < failures <= len(stayed)
                cell = (route, perturbation["name"])
                found[cell], reasons[cell] = colour(mine, then, leaked)
                if reasons[cell].startswith("not recovered"):
                    broken.add(route)
        kept = len(app.connections())
    print(reasons)
    assert {cell: is_ for cell, is_ in found.items() if is_ != "green"} == {
        (weak["route"], weak["perturbation"]): weak["colour"]
        for weak in planted
        if weak.get("found_by", "demo") == "demo"
    }
    assert kept <= POOLED + LEAKED


def test_a_missing_item_is_not_a_failure(backends: Backends, tmp_path: Path) -> None:
    for interface in ("wsgi", "asgi"):
        with ExitStack() as stack:
            app = App(interface, backends.addresses, stack, tmp_path)
            connection = http.client.HTTPConnection("127.0.0.1", app.port, timeout=20)
            connection.request("GET", "/items/4711")
            assert connection.getresponse().status == 404
            connection.close()
