"""The load generator: a process of its own, so that it shares no interpreter with the runner.

    python -m seism.experiment.load

It reads JSON, one object a line, from standard input. First what to do::

    {"url": "http://127.0.0.1:8080", "workers": 8, "seed": 1, "pause_ms": 20,
     "timeout_s": 15, "request_ids": true, "routes": [{"method": "GET", "path": "/",
     "weight": 2, "headers": {}, "body": ""}]}

then, any number of times, ``{"segment": "steady", "requests": 16}``: each worker sends
exactly that many requests; with ``"route": 2`` the first worker alone sends so many of that
route, one after the other. With ``"seconds": 2.5`` instead, each sends until they are over.
With both, each sends so many requests, and goes on until the seconds are over. With
``"leave": {"share": 0.5, "within": 0.3}`` that share of the requests has a client that leaves: a
little later than its route takes in the control run, and up to 0.3 s more. With ``"all": true``
beside a route, every worker sends so many of that route. A segment
with ``"open": true`` goes on from there until ``{"enough": true}`` is read.
With ``"rate": 50`` beside the workers the loop is open: as many requests come at times that the
seed draws, so many a second on average, whether or not the app has answered those before; a
request's time is counted from when it was due.
With ``"flow": 12`` the load goes on into the next segment: ``{"dealt": "db down: during"}`` is
written once each worker has sent what it was to send, and all go on until
``{"next": "db down: after", "at": 1234.5}`` is read. From then on, each sends 12 more, and goes on
until there is ``enough``. What was sent before that time (monotonic seconds) is in the answer of
the first segment, the rest in that of the next.
While it lasts, ``{"progress": 12, "of": 128, "failed": 0}`` (requests) is written
to standard output about ten times a second; at its end one line::

    {"segment": "steady", "requests": 128, "routes": {"GET /": {"count": 32,
     "statuses": {"200": 32}, "no_response": 0, "truncated": 0,
     "p50": 0.004, "p99": 0.009, "max": 0.01}}}

Each request is counted once: under its status, as truncated, as without response, or under
``"left"``, which is not there where no client left. With
``request_ids`` each is sent with an id of its own (``contract.CLIENT_HEADER``), and both kinds of
lines have ``"clients"``, what the clients saw since the line before: lists of the fields of
``journal.ClientRequest``. ``"salt"`` is that of the digests of what was answered (``answer``).

A route may have ``"action": {"header": "Idempotency-Key", "retries": 3, "count": "/done/{key}"}``:
each of its requests is sent with a key of its own, and again with the same key while it gets no
whole response; only the last try is counted. After ``{"check": "steady"}`` the app is asked, at
``"direct"`` if that was given beside ``"url"``, how often each action since the last check was
done. The answer is one line::

    {"check": "steady", "actions": {"POST /orders": {"sent": 32, "retried": 2,
     "acknowledged": 32, "twice": 0, "lost": 0, "unknown": 0}}}

``"setup": {"login": [...], "headers": {}, "basic": "", "expired": [401], "lasts_s": 0}`` has each
worker log in by these requests before its first one, and anew after an answer that says that it is
not logged in any more. Its requests are counted and told as those of the routes are. A segment's
last line then has ``"logins": {"again": {"GET /: 401": 2}, "failed": ["POST /login: 503"]}``.

``"scenarios": [{"steps": 3, "weight": 1}]``: the last of the routes are these steps. A worker sends
them in order, one whenever the scenario's turn comes, and begins again after one that failed.
``"data"``: rows of values, of which each request of a route and each pass of a scenario takes one.

Times are seconds. End of input, SIGTERM and SIGINT end it with exit code 0.
"""

from __future__ import annotations

import functools
import http.client
import itertools
import json
import math
import os
import queue
import select
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from random import Random
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

from seism.experiment.answer import CALM, REDIRECTS, Answer, Contents, Reader, unexpected
from seism.experiment.user import BUILT_IN, Message, Response, User, basic
from seism.journal import COMPLETE, CUT, LEFT, NOTHING, REFUSED, STALE, TIMED_OUT
from seism.rng import Seed
from seism_middleware.contract import CLIENT_HEADER

PROGRESS_S = 0.1
ASKED_AGAIN_S = 0.2
ASKED_AT_MOST = 5
"""How often the app is asked for one count, that long apart, until it answers."""
OPEN_AT_MOST = 1000
"""Requests that an open loop has under way; what comes beside them is sent late, and counted so."""
LONGEST_PAUSE_S, LOOKS = 0.1, 0.02
"""While there is not enough of an open segment, each worker pauses for as long as makes the time
between two requests of all this share of the time since its hand was empty, up to that."""
UNANSWERED = 2
"""Requests per worker whose clients wait in vain, after which a phase does not ask for more of that
route than the time that it lasts anyway."""
GONE = (404, 410)
"""Statuses after which a step alone needs new values: a DELETE removes what was captured."""
CLOSE_S = 0.05
"""So long after a 500 a kept connection is watched before it is used again: servers close after a
failed app, some without a word and a moment later (uvicorn does). What is sent into that close
never reaches the app."""
IDLE_S = 1.0
"""A kept connection older than this is not used again: servers close idle ones."""


SHORTEST_S, MARGIN = 0.02, 1.2
"""A client that leaves waits at least so long, and for this many times its route's p99."""

NO_ANSWER = Answer()


@dataclass(frozen=True, slots=True)
class Route:
    """One kind of request and how often it is sent in relation to the others."""

    method: str
    path: str
    weight: int = 1
    headers: dict[str, str] = field(default_factory=dict)
    body: str | None = None
    json: Any = None
    form: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    capture: dict[str, str] = field(default_factory=dict)
    action: dict[str, Any] | None = None
    """``header``, ``retries`` and ``count``, if each request is an action of its own."""
    expect: dict[str, Any] | None = None
    """``statuses``, ``json`` and ``text`` of its answers."""

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one request ended."""

    route: Route
    ended: str
    """As in ``journal.ClientRequest``."""
    status: int | None
    """Of the response, as far as it came."""
    at: float
    """When it was sent, or was due: monotonic seconds."""
    duration: float
    """Seconds."""
    body: bytes = b""
    """The beginning of the response's."""
    answer: Answer = NO_ANSWER

    @property
    def whole(self) -> bool:
        """Whether there was a response, all of it."""
        return self.ended == COMPLETE

    @property
    def truncated(self) -> bool:
        """Whether there was a part of a response."""
        return self.status is not None and not self.whole and self.ended != LEFT

    @property
    def is_good(self) -> bool:
        """Whether a scenario can go on from it."""
        return self.whole and (self.status or 500) < 400 and not self.answer.unexpected

    @property
    def failed(self) -> bool:
        """Whether there was no whole response for a client that waited, or a 5xx."""
        return self.ended != LEFT and (not self.whole or (self.status or 0) >= 500)


@dataclass(slots=True)
class Tally:
    """What became of the actions of one route."""

    sent: int = 0
    retried: int = 0
    """Requests beyond the first of each."""
    acknowledged: int = 0
    """Those with a status below 400."""
    twice: int = 0
    """Done more than once."""
    lost: int = 0
    """Acknowledged, and never done."""
    unknown: int = 0
    """The app did not say how often."""

    def add(self, acknowledged: bool, done: int | None) -> None:
        """One action, and how often the app says that it was done."""
        self.sent += 1
        self.acknowledged += acknowledged
        self.twice += done is not None and done > 1
        self.lost += acknowledged and done == 0
        self.unknown += done is None


def shares(weights: Sequence[int], cards: int) -> list[int]:
    """``cards`` divided in proportion to ``weights``, at least one each.

    The shares add up to ``cards``. Raises ValueError if there are fewer cards than weights.
    """
    if cards < len(weights):
        raise ValueError(f"{cards} requests cannot cover {len(weights)} routes")
    spare, total = cards - len(weights), sum(weights)
    counts = [1 + spare * weight // total for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda i: -(spare * weights[i] % total))
    for index in by_remainder[: cards - sum(counts)]:
        counts[index] += 1
    return counts


def deal(weights: Sequence[int], requests: int, streams: Sequence[Random]) -> list[list[int]]:
    """For each worker the indices of the routes that it requests, in its order.

    One deck for all workers holds each route by its share; dealt round, it gives each
    worker ``requests`` cards and spreads a rare (perhaps slow) route over as many
    workers as it can. Each worker then shuffles its own hand with its own stream.
    """
    workers = len(streams)
    deck: list[int] = []
    for route, count in enumerate(shares(weights, workers * requests)):
        deck += [route] * count
    hands = [deck[worker::workers] for worker in range(workers)]
    for hand, stream in zip(hands, streams, strict=True):
        stream.shuffle(hand)
    return hands


def until(end: float, weights: Sequence[int], stream: Random) -> Iterator[int]:
    """The indices of the routes that one worker requests until ``end`` (monotonic seconds).

    Each deck has every route as often as its weight says.
    """
    deck = [route for route, weight in enumerate(weights) for _ in range(weight)]
    while True:
        stream.shuffle(deck)
        for route in deck:
            if time.monotonic() >= end:
                return
            yield route


def arrivals(rate: float, stream: Random) -> Iterator[float]:
    """Seconds after the start at which requests are due, ``rate`` a second on average (Poisson)."""
    at = 0.0
    while True:
        at += stream.expovariate(rate)
        yield at


def summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """``routes`` of a segment's answer."""
    by_route: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_route.setdefault(outcome.route.name, []).append(outcome)
    return {name: _figures(of_route) for name, of_route in sorted(by_route.items())}


def _figures(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    durations = sorted(outcome.duration for outcome in outcomes)
    statuses = Counter(str(outcome.status) for outcome in outcomes if outcome.whole)
    truncated = sum(outcome.truncated for outcome in outcomes)
    left = sum(outcome.ended == LEFT for outcome in outcomes)
    return {
        "count": len(outcomes),
        "statuses": dict(sorted(statuses.items())),
        "no_response": len(outcomes) - truncated - left - statuses.total(),
        **({"left": left} if left else {}),
        "truncated": truncated,
        "p50": round(quantile(durations, 0.5), 6),
        "p99": round(quantile(durations, 0.99), 6),
        "max": round(durations[-1], 6),
    }


def quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` of the values do not exceed (nearest rank)."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


class _Lines:
    """A file that is read by lines, and the last one of them."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self.last = b""

    def readline(self, limit: int) -> bytes:
        self.last = self.file.readline(limit)
        return self.last

    def close(self) -> None:
        self.file.close()


class _Response(http.client.HTTPResponse):
    """One that knows a head without its end; ``http.client`` would take what there is of it."""

    def begin(self) -> None:
        lines = _Lines(self.fp)
        self.fp = lines  # type: ignore[assignment]
        try:
            super().begin()
        finally:
            if self.fp is lines:  # type: ignore[comparison-overlap]
                self.fp = lines.file
        if not lines.last:
            raise http.client.IncompleteRead(b"")


class Client:
    """One worker's kept connection."""

    def __init__(self, url: str, timeout_s: float, reader: Reader | None = None) -> None:
        """``reader`` reads the answers, if anybody asks for these."""
        parts = urlsplit(url)
        self._reader = reader
        self._timeout_s = timeout_s
        self._host = parts.hostname or ""
        secure = parts.scheme == "https"
        make = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        self._connection = make(parts.hostname or "127.0.0.1", parts.port, timeout=timeout_s)
        self._connection.response_class = _Response
        self._prefix = parts.path.rstrip("/")
        self._used = 0.0
        self.response: Response | None = None
        """The last request's, if it got a whole one."""
        self._doubtful = False
        """The last response was a 500: servers may close after it (see ``CLOSE_S``)."""

    def request(
        self,
        route: Route,
        message: Message,
        due: float | None = None,
        leaves_s: float | None = None,
    ) -> Outcome:
        """Send one request, ``message``, of ``route`` once, and read its whole response.

        ``due``: when it should have been sent (monotonic seconds), by default now. After
        ``leaves_s`` without a byte of the response the client closes its connection.
        """
        self._drop_if_stale()
        kept, self._doubtful = self._connection.sock is not None and self._doubtful, False
        status: int | None = None
        body, ended, connected = b"", COMPLETE, False
        found: Sequence[tuple[str, str]] = ()
        began = time.monotonic() if due is None else due
        try:
            if self._connection.sock is None:
                self._connection.connect()
            connected = True
            self._connection.sock.settimeout(self._timeout_s if leaves_s is None else leaves_s)
            self._connection.request(
                route.method,
                self._prefix + message.path,
                body=message.body,
                headers=message.headers,
            )
            response = self._connection.getresponse()
            status = response.status
            body = response.read()
            found = response.getheaders()
            self._doubtful = status == 500
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            ended = _ending(error, connected, status)
            if ended == TIMED_OUT and connected and leaves_s is not None:
                ended = LEFT
            if kept and status is None and _is_closed(error):
                ended = STALE
        self._used = time.monotonic()
        whole = status is not None and ended == COMPLETE
        self.response = Response(status or 0, found, body) if whole else None
        answer = NO_ANSWER
        if self._reader is not None and status is not None and ended == COMPLETE:
            named = {name.lower(): value for name, value in found}
            answer = self._reader.read(status, named, body, self._host, route.method)
            if route.expect is not None:
                answer = replace(answer, unexpected=unexpected(route.expect, status, body))
        return Outcome(route, ended, status, began, self._used - began, body[:64], answer)

    def _drop_if_stale(self) -> None:
        sock = self._connection.sock
        if sock is None:
            return
        poller = select.poll()
        poller.register(sock, select.POLLIN)
        idle = time.monotonic() - self._used
        wait = CLOSE_S - idle if self._doubtful else 0
        if poller.poll(max(0, wait) * 1000) or idle > IDLE_S:
            self._connection.close()


def _ending(error: Exception, connected: bool, status: int | None) -> str:
    """How a request ended that failed with ``error`` after the ``status`` of its response."""
    if isinstance(error, TimeoutError):
        return TIMED_OUT
    if not connected:
        return REFUSED
    return NOTHING if status is None else CUT


def _is_closed(error: Exception) -> bool:
    """Whether the server closed the connection without a byte of a response."""
    return isinstance(error, ConnectionError) and not isinstance(error, ConnectionRefusedError)


Ticket = tuple[int, float, "queue.SimpleQueue[None]"]
"""A unit's index, when it is due, and who is to be told that it is done."""


@dataclass(frozen=True, slots=True)
class Unit:
    """What is dealt: a route, or a scenario, of which one step is sent at each turn."""

    routes: tuple[int, ...]
    weight: int
    scenario: bool = False


@dataclass(slots=True)
class Journey:
    """How far a worker is in a scenario."""

    at: int = 0
    values: dict[str, str] = field(default_factory=dict)
    """Those of this pass: captured, made, and from the data."""


@dataclass(slots=True)
class Worker:
    """One client of the load: its connection, who it is, and whether it has to log in."""

    client: Client
    user: User
    account: Mapping[str, str]
    due: bool = False
    """It has to log in before its next request."""
    because: str = ""
    """Why it has to log in anew."""
    journeys: dict[Unit, Journey] = field(default_factory=dict)
    until: float = math.inf
    """When its login is renewed: monotonic seconds."""


class Load:
    """The workers: threads, each with its own connection, stream and inbox of hands."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._routes = [Route(**route) for route in config["routes"]]
        self._units = _units(self._routes, config.get("scenarios", ()))
        self._alone = [self._unit_of(index) for index in range(len(self._routes))]
        """Where each route is dealt: its unit, and its place there."""
        self._data = config.get("data") or [{}]
        self._rows = itertools.count()
        self._pause_s = config.get("pause_ms", 20) / 1000
        self._rate = config.get("rate", 0)
        seed = Seed(config["seed"])
        self._arrivals = seed.stream("load", "arrivals")
        workers = range(config["workers"])
        self._streams = [seed.stream("load", worker) for worker in workers]
        # How much more is sent is no chance of the seed, and must not change what comes later.
        self._more = [seed.stream("load", "more", worker) for worker in workers]
        self.enough = threading.Event()
        """Nothing more is needed of an open segment."""
        self.next: tuple[str, float] | None = None
        """The segment into which the load goes on, and when that began."""
        self._unanswered: Counter[int] = Counter()
        """Of each index, the requests of this phase that its clients waited for in vain."""
        self._dealt: list[None] = []
        """One for each worker that has sent what it was to send of a segment that goes on."""
        self._outcomes: queue.SimpleQueue[Outcome | None] = queue.SimpleQueue()
        """None: a worker has done with its hand."""
        self._hands: list[queue.SimpleQueue[Iterable[int]]] = [queue.SimpleQueue() for _ in workers]
        timeout_s = config.get("timeout_s", 15)
        self._run = os.urandom(4).hex()
        self._keys = itertools.count(1)
        self._actions: queue.SimpleQueue[tuple[User, Route, str, Outcome, int]] = (
            queue.SimpleQueue()
        )
        self._direct = Client(config.get("direct") or config["url"], timeout_s)
        setup = config.get("setup") or {}
        self._login = [Route(**step) for step in setup.get("login", ())]
        self._login_paths = {step.path.partition("?")[0] for step in self._login}
        self._expired = set(setup.get("expired", ()))
        self._lasts_s = setup.get("lasts_s") or math.inf
        self._headers = dict(setup.get("headers", {}))
        if setup.get("basic"):
            self._headers.setdefault("Authorization", basic(setup["basic"]))
        self._accounts = setup.get("accounts") or [{}]
        self._worker_numbers = itertools.count()
        self._logins: queue.SimpleQueue[tuple[float, str, str]] = queue.SimpleQueue()
        """When a worker logged in again (monotonic seconds), why, and why that failed if it did."""
        self._due: queue.SimpleQueue[Ticket] = queue.SimpleQueue()
        self._serving = 0
        self._identifies = config.get("request_ids", True)
        reader = Reader(config.get("salt") or os.urandom(8).hex())
        self._contents = Contents(reader)
        self._calm = False
        self._usual: dict[str, list[float]] = {}
        """How long each route took while nothing was perturbed."""
        self._leave: dict[str, float] = {}
        """``share`` and ``within``, while clients leave."""
        self._draws = functools.partial(seed.stream, "load", "leave")
        self._connect = functools.partial(
            Client, config["url"], timeout_s, reader if self._identifies else None
        )
        self._ids = itertools.count(1)
        self._seen: queue.SimpleQueue[tuple[object, ...]] = queue.SimpleQueue()
        """The fields of each ``journal.ClientRequest``."""
        for hands in self._hands:
            threading.Thread(target=self._work, args=(self._make(), hands), daemon=True).start()

    def segment(
        self, name: str, requests: int = 0, route: int | None = None, seconds: float = 0,
        open_: bool = False, leave: dict[str, float] | None = None, all_: bool = False,
        flow: int = 0,
    ) -> Iterator[dict[str, Any]]:  # fmt: skip
        """Run one segment; yields progress and at last its answer."""
        self._calm = name in CALM
        self._leave = leave or {}
        self._unanswered.clear()
        weights = [unit.weight for unit in self._units]
        dealt: Sequence[Iterable[int]]
        total = 0
        end = time.monotonic() + seconds
        if not requests:
            dealt = [until(end, weights, stream) for stream in self._streams]
        elif route is None:
            dealt = deal(weights, requests, self._streams)
            total = requests * len(dealt)
        elif all_:
            route += len(self._units)
            dealt = [[route] * requests for _ in self._hands]
            total = requests * len(dealt)
        else:
            route += len(self._units)
            dealt = [[route] * requests, *([] for _ in self._hands[1:])]
            total = requests
        if flow:
            self.next, self._dealt = None, []
            dealt = [
                self._flow(hand, weights, stream, end, flow)
                for hand, stream in zip(dealt, self._more, strict=True)
            ]
        elif requests and (seconds or open_):
            dealt = [
                itertools.chain(
                    self._answering(hand), self._rest(weights, stream, route, end, open_=open_)
                )
                for hand, stream in zip(dealt, self._more, strict=True)
                if route is None or hand
            ]
        working = len(dealt)
        if self._rate and route is None:
            # One worker deals all hands in turn, at their times; others take what is due.
            turns = zip(*dealt, strict=False) if total else ((index,) for index in dealt[0])
            dealt = [self._open(itertools.chain.from_iterable(turns))]
            working = 1
        for inbox, hand in zip(self._hands, dealt, strict=False):
            inbox.put(hand)
        outcomes: list[Outcome] = []
        failed = 0
        shown = time.monotonic()
        awaited = len(self._hands) if flow else 0
        while working:
            if awaited and len(self._dealt) >= awaited:
                awaited = 0
                yield {"dealt": name} | self._clients()
            try:
                outcome = self._outcomes.get(timeout=PROGRESS_S)
                if outcome is None:
                    working -= 1
                    continue
                outcomes.append(outcome)
                failed += outcome.failed
            except queue.Empty:
                pass
            if time.monotonic() - shown >= PROGRESS_S:
                shown = time.monotonic()
                done = len(outcomes)
                progress = {"progress": done, "of": max(total, done), "failed": failed}
                yield progress | self._clients()
        if flow and self.next is not None:
            later, at = self.next
            before = [each for each in outcomes if round(each.at, 6) < at]
            answer = {"segment": name, "requests": len(before), "routes": summary(before)}
            yield answer | self._logged_in(at)
            name, outcomes = later, [each for each in outcomes if round(each.at, 6) >= at]
        answer = {"segment": name, "requests": len(outcomes), "routes": summary(outcomes)}
        yield answer | self._clients() | self._logged_in()

    def _make(self) -> Worker:
        account = self._accounts[next(self._worker_numbers) % len(self._accounts)]
        keeps = bool(self._login) or any(unit.scenario for unit in self._units)
        user = User(account, self._headers, keeps)
        return Worker(self._connect(), user, account, due=bool(self._login))

    def _logged_in(self, before: float = math.inf) -> dict[str, Any]:
        """What logins there were since the last call and ``before`` (monotonic seconds), beside the
        first of each worker.
        """
        again: Counter[str] = Counter()
        failed: Counter[str] = Counter()
        found = [self._logins.get() for _ in range(self._logins.qsize())]
        for at, because, problem in found:
            if at >= before:
                self._logins.put((at, because, problem))
                continue
            again.update([because] if because else [])
            failed.update([problem] if problem else [])
        return {"logins": {"again": again, "failed": failed}} if again or failed else {}

    def _flow(
        self, hand: Iterable[int], weights: Sequence[int], stream: Random, end: float, after: int
    ) -> Iterator[int]:
        """What one worker requests of two segments between which the load goes on."""
        yield from self._answering(hand)
        going = until(math.inf, weights, stream)
        while time.monotonic() < end:
            yield next(going)
        self._dealt.append(None)
        yield from self._paced(going, lambda: self.next is not None)
        yield from self._answering(itertools.islice(going, after))
        yield from self._paced(going, self.enough.is_set)

    def _answering(self, hand: Iterable[int]) -> Iterator[int]:
        """``hand`` without what has kept clients waiting in vain often enough to be known."""
        most = UNANSWERED * len(self._hands)
        return (index for index in hand if self._unanswered[index] < most)

    def _rest(
        self, weights: Sequence[int], stream: Random, route: int | None, end: float, *, open_: bool
    ) -> Iterator[int]:
        """What one worker requests beyond its hand: until ``end``, and until there is enough."""
        going = until(math.inf, weights, stream) if route is None else itertools.repeat(route)
        workers = 1 if route is not None else len(self._hands)
        if open_:
            over = lambda: time.monotonic() >= end and self.enough.is_set()  # noqa: E731
            yield from self._paced(going, over, workers)
            return
        while time.monotonic() < end:
            yield next(going)

    def _paced(
        self, going: Iterator[int], over: Callable[[], bool], workers: int = 0
    ) -> Iterator[int]:
        """The indices of ``going`` until it is ``over``, the slower the longer it takes."""
        began, workers = time.monotonic(), workers or len(self._hands)
        while not over():
            if not self._rate:
                # An app that fails at once would fill the journal, and a later end needs no
                # finer look.
                pause_s = min(LONGEST_PAUSE_S, LOOKS * (time.monotonic() - began) * workers)
                time.sleep(max(0.0, pause_s - self._pause_s))
            yield next(going)

    def go_on(self, name: str, at: float) -> None:
        """The segment ``name`` has begun ``at`` (monotonic seconds), in the middle of the load."""
        self._leave = {}
        self._unanswered.clear()
        self.next = name, at

    def _clients(self) -> dict[str, Any]:
        """What the clients saw since the last call."""
        found = []
        while not self._seen.empty():
            found.append(self._seen.get())
        return {"clients": found} if found else {}

    def _send(
        self, worker: Worker, route: Route, due: float | None, headers: dict[str, str],
        values: Mapping[str, str] | None = None, *, login: bool = False,
    ) -> tuple[Outcome, dict[str, str | None]]:  # fmt: skip
        """One request, which is sent once, and what was captured from its answer."""
        client, user = worker.client, worker.user
        message = user.message(route, values, login=login)
        message.headers.update(headers)
        number = next(self._ids)
        request = f"{self._run}-{number}"
        if self._identifies:
            message.headers[CLIENT_HEADER] = request
        leaves_s = self._leaves_s(route, number) if self._leave and not login else None
        outcome = client.request(route, message, due, leaves_s)
        if self._calm:
            self._usual.setdefault(route.name, []).append(outcome.duration)
        response = client.response
        captured = user.take(route, response) if response is not None else {}
        missing = [f"no {route.capture[name]}" for name, value in captured.items() if not value]
        if missing and (outcome.status or 500) < 400 and not outcome.answer.unexpected:
            answer = replace(outcome.answer, unexpected=", ".join(missing))
            outcome = replace(outcome, answer=answer)
        if self._identifies:
            times = round(outcome.at, 6), round(outcome.duration, 6)
            answer = outcome.answer
            told = self._contents.told(route.name, answer, calm=self._calm)
            row = (request, route.name, *times, outcome.ended, outcome.status)
            self._seen.put((*row, answer.target, answer.broken, answer.unexpected, *told))
        return outcome, captured

    def _log_in(self, worker: Worker) -> None:
        """Have ``worker`` log in; one that cannot goes on as who it is."""
        problem = ""
        fresh = replace(worker, user=worker.user.anew(worker.account))
        for step in self._login:
            outcome, captured = self._send(fresh, step, None, {}, login=True)
            self._outcomes.put(outcome)
            answered = str(outcome.status) if outcome.whole else outcome.ended
            if not outcome.whole or (outcome.status or 500) >= 400:
                problem = f"{step.name}: {answered}"
            elif outcome.answer.unexpected:
                problem = f"{step.name}: {answered}, unexpected: {outcome.answer.unexpected}"
            if problem:
                break
            fresh.user.values.update({name: value for name, value in captured.items() if value})
        else:
            worker.user.become(fresh.user)
            worker.until = time.monotonic() + self._lasts_s
        if worker.because or problem:
            self._logins.put((time.monotonic(), worker.because, problem))
        worker.due, worker.because = bool(problem) and not worker.because, ""

    def _notice_expiry(self, worker: Worker, route: Route, outcome: Outcome) -> None:
        """See whether the answer says that ``worker`` is not logged in any more."""
        if not self._login or outcome.status is None:
            return
        where = worker.client.response.header("location") if worker.client.response else None
        path = urlsplit(where or "").path
        if outcome.status in self._expired:
            worker.due, worker.because = True, f"{route.name}: {outcome.status}"
        elif outcome.status in REDIRECTS and path in self._login_paths:
            worker.due, worker.because = True, f"{route.name}: {outcome.status} to {path}"

    def _leaves_s(self, route: Route, number: int) -> float | None:
        """How long the client of the ``number``-th request waits; None: for its answer."""
        draws = self._draws(number)
        if draws.random() >= self._leave["share"]:
            return None
        usual = quantile(sorted(self._usual.get(route.name, ())) or (0.0,), 0.99)
        return max(SHORTEST_S, MARGIN * usual + draws.random() * self._leave["within"])

    def _open(self, indices: Iterable[int]) -> Iterator[int]:
        """Have each of ``indices`` sent when it is due; gives none of them to who iterates."""
        began = time.monotonic()
        done: queue.SimpleQueue[None] = queue.SimpleQueue()
        sent = ended = 0
        for index, at in zip(indices, arrivals(self._rate, self._arrivals), strict=False):
            due = began + at
            time.sleep(max(0.0, due - time.monotonic()))
            while not done.empty():
                done.get()
                ended += 1
            if sent - ended >= self._serving < OPEN_AT_MOST:
                self._serving += 1
                threading.Thread(target=self._serve, args=(self._make(),), daemon=True).start()
            self._due.put((index, due, done))
            sent += 1
        for _ in range(sent - ended):
            done.get()
        yield from ()

    def _serve(self, worker: Worker) -> None:
        while True:
            index, due, done = self._due.get()
            self._outcomes.put(self._turn(worker, index, due))
            done.put(None)

    def check(self, name: str) -> dict[str, Any]:
        """Ask how often each action since the last check was done."""
        tallies = {route.name: Tally() for route in self._routes if route.action}
        while not self._actions.empty():
            user, route, key, outcome, retried = self._actions.get()
            acknowledged = outcome.whole and (outcome.status or 0) < 400
            tally = tallies[route.name]
            tally.retried += retried
            tally.add(acknowledged, self._done(user, route, key))
        return {"check": name, "actions": {key: asdict(value) for key, value in tallies.items()}}

    def _done(self, user: User, route: Route, key: str) -> int | None:
        assert route.action is not None
        asked = Route("GET", route.action["count"])
        message = user.message(asked, {"key": key})
        for attempt in range(ASKED_AT_MOST):
            if attempt:
                time.sleep(ASKED_AGAIN_S)
            outcome = self._direct.request(asked, message)
            number = outcome.body.strip()
            if outcome.whole and outcome.status == 200 and number.isdigit():
                return int(number)
        return None

    def _work(self, worker: Worker, hands: queue.SimpleQueue[Iterable[int]]) -> None:
        while True:
            for index in hands.get():
                outcome = self._turn(worker, index)
                self._unanswered[index] += outcome.ended == TIMED_OUT
                self._outcomes.put(outcome)
                # Whoever has left does not come back at once: under WSGI the request runs on.
                left = outcome.ended == LEFT
                time.sleep(self._leave.get("within", 0.0) if left else self._pause_s)
            self._outcomes.put(None)

    def _unit_of(self, route: int) -> tuple[Unit, int]:
        unit = next(unit for unit in self._units if route in unit.routes)
        return unit, unit.routes.index(route)

    def _turn(self, worker: Worker, index: int, due: float | None = None) -> Outcome:
        """The next request of a unit; from the number of units on, of one route alone."""
        alone = index >= len(self._units)
        unit, place = self._alone[index - len(self._units)] if alone else (self._units[index], 0)
        if not unit.scenario:
            return self._request(worker, self._routes[unit.routes[place]], due, self._next_row())
        journey = worker.journeys.setdefault(unit, Journey())
        if alone:
            return self._step_alone(worker, unit, place, journey)
        outcome = self._step(worker, unit, journey.at, journey, due)
        advanced = outcome.is_good and journey.at + 1 < len(unit.routes)
        journey.at = journey.at + 1 if advanced else 0
        return outcome

    def _step(
        self, worker: Worker, unit: Unit, at: int, journey: Journey, due: float | None = None
    ) -> Outcome:
        """One step; the first one begins another pass."""
        if at == 0:
            journey.values = {**self._next_row(), **{key: make() for key, make in BUILT_IN.items()}}
        route = self._routes[unit.routes[at]]
        return self._request(worker, route, due, journey.values, journey.values)

    def _step_alone(self, worker: Worker, unit: Unit, place: int, journey: Journey) -> Outcome:
        """One step with the values of the last pass; those before it are sent if it needs them."""
        earlier = [self._routes[index] for index in unit.routes[:place]]
        needed = {name for route in earlier for name in route.capture}
        if not needed <= journey.values.keys() | worker.user.live.keys():
            for at in range(place):
                self._outcomes.put(self._step(worker, unit, at, journey))
        journey.at = 0
        outcome = self._step(worker, unit, place, journey)
        if outcome.status in GONE:
            journey.values.clear()
        return outcome

    def _next_row(self) -> dict[str, str]:
        found: dict[str, str] = self._data[next(self._rows) % len(self._data)]
        return found

    def _request(
        self, worker: Worker, route: Route, due: float | None, values: Mapping[str, str],
        captured_to: dict[str, str] | None = None,
    ) -> Outcome:  # fmt: skip
        """One request; an action with the same key until it has an answer, or has been tried
        enough.
        """
        if worker.due or time.monotonic() > worker.until:
            self._log_in(worker)
        if route.action is None:
            outcome, captured = self._send(worker, route, due, {}, values)
            live = worker.user.live
            found = {name: value for name, value in captured.items() if value and name not in live}
            if captured_to is not None:
                captured_to.update(found)
        else:
            outcome = self._act(worker, route, route.action, due, values)
        self._notice_expiry(worker, route, outcome)
        return outcome

    def _act(
        self, worker: Worker, route: Route, action: Mapping[str, Any], due: float | None,
        values: Mapping[str, str],
    ) -> Outcome:  # fmt: skip
        key = f"{self._run}-{next(self._keys)}"
        for retried in range(action["retries"] + 1):  # noqa: B007
            outcome, _ = self._send(worker, route, due, {action["header"]: key}, values)
            if outcome.whole:
                break
        self._actions.put((worker.user, route, key, outcome, retried))
        return outcome


def _units(routes: Sequence[Route], scenarios: Sequence[Mapping[str, int]]) -> list[Unit]:
    """What is dealt; the last of the routes are the steps of the scenarios."""
    plain = len(routes) - sum(scenario["steps"] for scenario in scenarios)
    units = [Unit((index,), routes[index].weight) for index in range(plain)]
    for scenario in scenarios:
        steps = tuple(range(plain, plain + scenario["steps"]))
        units.append(Unit(steps, scenario["weight"] * len(steps), scenario=True))
        plain += len(steps)
    return units


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(0)


def _read(orders: queue.SimpleQueue[dict[str, Any] | None], load: Load) -> None:
    """Read what to do; that there is enough, or that the next segment begins, is heard at once."""
    for line in sys.stdin:
        order = json.loads(line)
        if "enough" in order:
            load.enough.set()
        elif "next" in order:
            load.go_on(order["next"], order["at"])
        else:
            orders.put(order)
    orders.put(None)


def main() -> None:
    """Serve standard input until it ends."""
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, _leave)
    first = sys.stdin.readline()
    if not first:
        return
    load = Load(json.loads(first))
    orders: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(orders, load), daemon=True).start()
    for order in iter(orders.get, None):
        checks = "check" in order
        load.enough.clear()
        for answer in (
            [load.check(order["check"])]
            if checks
            else load.segment(
                order["segment"],
                order.get("requests", 0),
                order.get("route"),
                order.get("seconds", 0),
                order.get("open", False),
                order.get("leave"),
                order.get("all", False),
                order.get("flow", 0),
            )
        ):
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
