"""The plug-in of a worker of ``pytest --seism``: runs the tests that its leader names.

The leader is at the other end of a socket, and each message is a line of JSON. It decides what is
run, and what is perturbed: a worker tells of the request that is to be perturbed, waits until it
is, and ends the test behind that request, as nothing after it can be what the test expects.
"""

from __future__ import annotations

import json
import os
import queue
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

import pytest
from _pytest.runner import runtestprotocol

from seism.experiment.answer import Reader
from seism_middleware.contract import IN_TEST
from seism_middleware.route import collapse

CLIENTS = "seism_middleware.suite"
"""The plug-in that follows the test clients."""
LEFT = 77
"""Exit code of a worker that was told to leave while it was busy."""
MOST_NAMED = 190
"""Characters of a route's name; an observation keeps 200."""


class Answered(Protocol):
    """What ``seism_middleware.suite`` tells of a request."""

    at: float
    duration: float
    status: int | None
    headers: dict[str, str]
    body: bytes
    raised: str


class Channel:
    """The worker's end of the socket."""

    def __init__(self, path: str, leave: Callable[[], None]) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._said: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._leave = leave
        threading.Thread(target=self._read, name="seism-leader", daemon=True).start()

    def say(self, **message: Any) -> None:
        self._socket.sendall(json.dumps(message).encode() + b"\n")

    def hear(self) -> dict[str, Any]:
        """The leader's next message; waits for it."""
        return self._said.get()

    def _read(self) -> None:
        with self._socket.makefile("rb") as lines:
            for line in lines:
                message = json.loads(line)
                if "leave" in message:
                    break
                self._said.put(message)
        self._leave()


class Last(pytest.Item):
    """An item that needs nothing but the session: the fixtures of all others end before it."""

    def runtest(self) -> None: ...


class Probe:
    """Runs what the leader names, and tells it what the requests came to."""

    def __init__(self, config: pytest.Config, order: dict[str, Any]) -> None:
        followed: Any = config.pluginmanager.get_plugin(CLIENTS)
        self._clients = followed.clients
        self._reader = Reader(order["salt"])
        self._prefix = order["worker"]
        self._ignored = frozenset(order["ignored"])
        self._channel = Channel(order["socket"], self._left)
        self._job: dict[str, Any] = {}
        self._numbers: Counter[str] = Counter()
        self._sent = 0
        self._running: tuple[str, str] = ("", "")
        """Id and ``METHOD route`` of the request that is under way."""
        self._perturbed = False
        self._rows: list[list[Any]] = []
        self._failed = ""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        if session.testsfailed:
            return None  # the tests could not be collected, which pytest itself says best
        self._clients.start()
        items = {item.nodeid: item for item in session.items}
        last = Last.from_parent(session, name="seism")
        self._channel.say(tests=list(items))
        while "run" in (job := self._channel.hear()):
            self._run(items[job["run"]], job, last)
        return True

    def _run(self, item: pytest.Item, job: dict[str, Any], last: pytest.Item) -> None:
        self._job, self._rows, self._failed = job, [], ""
        self._numbers.clear()
        self._perturbed = False
        if hasattr(item, "_initrequest"):
            item._initrequest()
        self._follow_none_of_freezegun()
        reports = runtestprotocol(item, nextitem=last, log=False)
        _end_unusable_connections()
        failed = next((each for each in reports if each.failed), None)
        called = any(each.when == "call" and not each.skipped for each in reports)
        self._channel.say(
            done=item.nodeid,
            rows=self._rows,
            passed=called and failed is None,
            failed="" if failed is None else _reason(failed),
            setup=not called,
        )

    @pytest.hookimpl(optionalhook=True)
    def pytest_timeout_set_timer(self, item: pytest.Item) -> bool:
        """Of pytest-timeout, which would end the process: the leader has limits of its own."""
        return True

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Any:
        self._clients.patch()
        self._clients.listener = self
        try:
            return (yield)
        finally:
            self._clients.listener = None

    def begins(self, method: str, url: str) -> tuple[str, str] | None:
        """See ``seism_middleware.suite.Listener``."""
        parts = urlsplit(url)
        if parts.netloc in self._ignored:
            return None
        name = f"{collapse(parts.path or '/')}{IN_TEST}{self._job['run']}"
        name = quote(name, safe="/{}[]:.,-_~ ()+*=@'&;!$")
        self._numbers[method + name] += 1
        number = self._numbers[method + name]
        mark = f" #{number}" if number > 1 else ""
        name = _shortened(name, MOST_NAMED - len(mark)) + mark
        self._sent += 1
        self._running = f"{self._prefix}-{self._sent}", f"{method} {name}"
        if self._running[1] == self._job.get("perturb"):
            self._perturbed = True
            self._channel.say(begins=self._running)
            self._channel.hear()
        return self._running[0], name

    def ended(self, answered: Answered) -> None:
        """The same."""
        row = self._row(answered)
        if not self._perturbed:
            self._rows.append(row)
            return
        self._perturbed = False
        self._channel.say(ended=row)
        self._channel.hear()
        # No more of them: what the test does next is not what the perturbation is about.
        self._clients.listener = None
        pytest.skip("seism: the request has been perturbed")

    def _row(self, answered: Answered) -> list[Any]:
        """What the journal has of it, but for the content, of which the leader decides."""
        id_, route = self._running
        status = answered.status
        outcome = _outcome(answered)
        answer = self._reader.read(
            status or 0, answered.headers, answered.body, method=route.partition(" ")[0]
        )
        times = round(answered.at, 6), round(answered.duration, 6)
        parts = dict(answer.parts)
        return [id_, route, *times, outcome, status, answer.target, answer.broken, parts]

    def _left(self) -> None:
        """The leader waits no longer, or is gone."""
        self._clients.close()
        os._exit(LEFT)

    @staticmethod
    def _follow_none_of_freezegun() -> None:
        """Time goes on for what observes."""
        freezegun = sys.modules.get("freezegun")
        if freezegun is not None:
            freezegun.configure(extend_ignore_list=["seism", "seism_middleware", "http.client"])


def _outcome(answered: Answered) -> str:
    """How it ended for its client; see ``journal.OUTCOMES``."""
    if answered.status is not None:
        return "complete"
    if "Timeout" in answered.raised:
        return "timed out"
    return "refused" if "Connect" in answered.raised else "nothing"


def _shortened(name: str, most: int) -> str:
    """``name`` with its middle left out where it is too long."""
    if len(name) <= most:
        return name
    half = (most - 3) // 2
    return f"{name[:half]}...{name[-half:]}"


def _reason(report: pytest.TestReport) -> str:
    """Why a test failed, one line."""
    crash = getattr(report.longrepr, "reprcrash", None)
    text = crash.message if crash is not None else str(report.longrepr)
    return f"{report.when}: {text.strip().splitlines()[0] if text.strip() else ''}"[:300]


def _end_unusable_connections() -> None:
    """Between two tests, as Django does between two requests, of which a test client tells it
    nothing: a connection that is broken is not the next one's.
    """
    django = sys.modules.get("django.db")
    if django is None:
        return
    for connection in django.connections.all(initialized_only=True):
        try:
            if connection.in_atomic_block:
                # Its rollback has failed: a new one takes its place.
                del django.connections[connection.alias]
                connection.connection.close()
            else:
                connection.close_if_unusable_or_obsolete()
        except Exception:
            connection.connection = None
