"""What is observed in front of an app that has no middleware: its HTTP exchanges.

The records are the middleware's own (``seism_middleware.contract``), journalled under the
worker ``front``. A request begins before the app has its head and ends before the client has
the last byte of the response. How a perturbation of a backend is attributed to a request:

trace     the backend's exchange carries the trace id that the request was given, exactly
overlap   the request was in flight while the perturbation lasted: possible, never exact

What is done to the client's own line is attributed exactly, by the connection (``ledger``): the
front sees whose bytes they are.
"""

from __future__ import annotations

import itertools
import os
import re
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from seism.errors import ProtocolError
from seism.journal import WorkerLeft
from seism.model import FRONT
from seism.protocols.base import Codec, Exchange, Piece
from seism.proxy.pump import SLICE, SMALL
from seism.sidecar.hub import Hub
from seism_middleware.contract import (
    BODY_COMPLETE,
    BODY_NONE,
    BODY_TRUNCATED,
    CLIENT_HEADER,
    DOWNSTREAM,
    UPSTREAM,
    Attribution,
    Clock,
    Hello,
    PerturbationBegan,
    PerturbationEnded,
    RequestBegun,
    RequestEnded,
    client_id,
)
from seism_middleware.route import Routes

MAX_POSSIBLE = 20
"""Perturbations attributed to one request as possible: the latest that still last."""
REMEMBERED = 4096
"""Trace ids that are known, of requests that may have ended."""

_STATUS = re.compile(rb"HTTP/1\.[01] ([1-9][0-9][0-9])(?: |\r?\n)")
_CLIENT = re.compile(rb"\r?\n" + CLIENT_HEADER.encode() + rb"[ \t]*:[ \t]*([^\s]*)", re.IGNORECASE)
_RETRY_AFTER = re.compile(rb"\r?\nretry-after[ \t]*:", re.IGNORECASE)


@dataclass(slots=True, eq=False)
class Asked:
    """One request as the front knows it."""

    id: str
    method: str
    route: str
    began: float
    exchange: Exchange
    status: int | None = None
    retry_after: bool = False
    client: str = ""
    """The id that its client gave it."""
    attributed: set[str] = field(default_factory=set)
    """The perturbations that are attributed to it."""


class Front:
    """All connections to the app; lives on the event loop. ``codec`` makes HTTP's."""

    def __init__(self, hub: Hub, codec: Callable[[], Codec]) -> None:
        self.codec = codec
        self._hub = hub
        self._records = itertools.count(1)
        self._requests = itertools.count(1)
        self._run = os.urandom(8).hex()
        self._routes = Routes()
        self._in_flight: dict[str, Asked] = {}
        self._traces: dict[str, list[Asked]] = {}
        self._order: deque[str] = deque()
        self._lasting: dict[str, PerturbationBegan] = {}
        """Perturbations of backends that are not over."""
        self._followers: dict[str, Follower] = {}
        domain = hub.clock.domain
        self._say(Hello(FRONT, os.getpid(), Clock(domain, hub.clock.now()), "http"))

    def follow(self, client: str) -> Follower:
        """What follows a new connection from ``client`` (``host:port``)."""
        follower = self._followers[client] = Follower(self, client)
        return follower

    def forget(self, follower: Follower) -> None:
        """Its connection is over."""
        if self._followers.get(follower.client) is follower:
            del self._followers[follower.client]

    def close(self) -> None:
        """Say that the worker ``front`` is gone; every connection has ended by now."""
        self._hub.record(WorkerLeft(self._hub.clock.now(), True, len(self._in_flight)), FRONT)

    def begin(self, exchange: Exchange, head: bytes = b"") -> tuple[Asked, str]:
        """The app is about to see a request, which begins with ``head``; it, and the trace id to
        give it, if any.
        """
        number = next(self._requests)
        path = exchange.fields.get("path", "/").partition("?")[0]
        now = self._hub.clock.now()
        route = self._routes.name(path)
        asked = Asked(f"{FRONT}-{number}", exchange.kind[:32], route, now, exchange)
        client = _CLIENT.search(head.partition(b"\r\n\r\n")[0])
        if client:
            asked.client = client_id(client[1].decode("latin-1"))
        given = "" if exchange.trace else f"{self._run}{number:016x}"
        self._remember(exchange.trace or given, asked)
        self._in_flight[asked.id] = asked
        self._say(RequestBegun(asked.id, asked.method, now, asked.route, asked.client))
        for perturbation in list(self._lasting)[-MAX_POSSIBLE:]:
            self.attribute(perturbation, asked, "overlap", exact=False)
        return asked, given

    def end(self, asked: Asked, body: str) -> None:
        """The response is over, as ``RequestEnded.body`` says."""
        if self._in_flight.pop(asked.id, None) is None:
            return
        self._hub.observed += 1
        self._say(
            RequestEnded(
                request=asked.id,
                method=asked.method,
                route=asked.route,
                began=asked.began,
                duration=self._hub.clock.now() - asked.began,
                status=asked.status,
                body=body,
                retry_after=asked.retry_after,
                client=asked.client,
            )
        )

    def attribute(self, perturbation: str, asked: Asked, evidence: str, *, exact: bool) -> None:
        """Say that the two belong together, once."""
        if perturbation not in asked.attributed:
            asked.attributed.add(perturbation)
            how = "bytes" if evidence == "ledger" else ""
            self._say(Attribution(perturbation, asked.id, evidence, exact, how=how))

    def perturbation(self, record: Any) -> None:
        """Take each record of the proxies as it happens."""
        if isinstance(record, PerturbationEnded):
            self._lasting.pop(record.perturbation, None)
            for follower in self._followers.values():
                follower.lasting.discard(record.perturbation)
        elif isinstance(record, PerturbationBegan) and record.proxy == FRONT:
            hit = self._followers.get(record.client)
            if hit is not None:
                hit.perturbed(record)
        elif isinstance(record, PerturbationBegan):
            self._of_backend(record)

    def _of_backend(self, record: PerturbationBegan) -> None:
        traced = self._traced(record)
        if traced is not None:
            self.attribute(record.perturbation, traced, "trace", exact=True)
            return
        self._lasting[record.perturbation] = record
        for asked in self._in_flight.values():
            self.attribute(record.perturbation, asked, "overlap", exact=False)

    def _traced(self, record: PerturbationBegan) -> Asked | None:
        """The one request whose trace id the perturbed exchange carries."""
        exchange = getattr(record, "exchange", None)
        trace = "" if exchange is None else exchange.trace
        # A client may give several requests one trace id: only those that run can be meant.
        found = [each for each in self._traces.get(trace, ()) if each.id in self._in_flight]
        return found[0] if len(found) == 1 else None

    def _remember(self, trace: str, asked: Asked) -> None:
        if trace not in self._traces:
            self._order.append(trace)
        same = self._traces.setdefault(trace, [])
        same[:] = [each for each in same if each.id in self._in_flight]
        same.append(asked)
        while len(self._order) > REMEMBERED:
            self._traces.pop(self._order.popleft(), None)

    def _say(self, record: Any) -> None:
        self._hub.record(record, FRONT, next(self._records))


class Follower:
    """One connection of a client to the app: ``seism.proxy.front`` says when what is called."""

    def __init__(self, front: Front, client: str) -> None:
        self.client = client
        self.asked = 0
        self.lasting: set[str] = set()
        """Perturbations of this line that are not over."""
        self._front = front
        self._codec: Codec | None = front.codec()
        # Many may be taken from its front, which costs a plain dict more each time.
        self._open: OrderedDict[int, Asked] = OrderedDict()
        """Requests without their whole response, by their exchange's number."""
        self._passing: list[Asked] = []
        """Those whose response is on its way through the toxics right now."""

    def read_size(self, stream: str) -> int:
        return SMALL if self._codec is None else SLICE[stream] + self._codec.payload_left(stream)

    def upstream(self, data: bytes) -> bytes:
        return b"".join(self._sent(piece) for piece in self._read(UPSTREAM, data))

    def upstream_end(self) -> bytes:
        return b"".join(self._sent(piece) for piece in self._read(UPSTREAM, b""))

    def downstream(self, data: bytes) -> None:
        for piece in self._read(DOWNSTREAM, data):
            self._received(piece)
        self._settle()

    def passed(self) -> None:
        self._passing.clear()

    def downstream_end(self) -> None:
        self.downstream(b"")
        self._give_up()

    def close(self) -> None:
        self._give_up()
        self._front.forget(self)

    def perturbed(self, record: PerturbationBegan) -> None:
        """A toxic of this line takes effect."""
        self.lasting.add(record.perturbation)
        hit = list(dict.fromkeys([*self._passing, *self._open.values()]))
        for asked in hit:
            self._front.attribute(record.perturbation, asked, "ledger", exact=len(hit) == 1)

    def _read(self, stream: str, data: bytes) -> list[Piece]:
        """The pieces of ``data``; empty data is the end of the stream."""
        codec = self._codec
        pieces: list[Piece] = []
        if codec is None:
            return [Piece(data, None)] if data else []
        try:
            for piece in codec.receive(stream, data) if data else codec.eof(stream):
                pieces.append(piece)
            blind = bool(codec.opaque)
        except ProtocolError:
            blind = True
        if blind:
            # It is not HTTP any more, as the proxy says: everything goes on as it is.
            self._codec = None
            held = codec.held(stream)
            pieces += [Piece(held, None)] if held else []
        return pieces

    def _sent(self, piece: Piece) -> bytes:
        if piece.exchange is None or not piece.first:
            return piece.data
        asked, trace = self._front.begin(piece.exchange, piece.data)
        self._open[piece.exchange.number] = asked
        self.asked += 1
        for perturbation in self.lasting:
            self._front.attribute(perturbation, asked, "ledger", exact=len(self._open) == 1)
        return traced(piece.data, trace) if trace else piece.data

    def _received(self, piece: Piece) -> None:
        asked = None if piece.exchange is None else self._open.get(piece.exchange.number)
        if asked is None:
            return
        if asked not in self._passing:
            self._passing.append(asked)
        if asked.status is None or asked.status < 200:
            # What an interim response said is over with the next one.
            found = _STATUS.match(piece.data)
            if found:
                asked.status = int(found[1])
                asked.retry_after = bool(_RETRY_AFTER.search(piece.data.partition(b"\r\n\r\n")[0]))

    def _settle(self) -> None:
        """End the requests that have their response, which come in the requests' order."""
        while self._open:
            number, asked = next(iter(self._open.items()))
            if not asked.exchange.answered:
                return
            del self._open[number]
            self._front.end(asked, BODY_COMPLETE)

    def _give_up(self) -> None:
        """No more will come for the requests that are open."""
        for asked in self._open.values():
            final = asked.status is not None and asked.status >= 200
            if not final:
                asked.status = None
            self._front.end(asked, BODY_TRUNCATED if final else BODY_NONE)
        self._open.clear()


def traced(head: bytes, trace: str) -> bytes:
    """``head``, which may have more behind it, with a ``traceparent`` (W3C Trace Context)."""
    end = head.find(b"\r\n\r\n")
    if end < 0 or b"\r\ntraceparent:" in head[:end].lower():
        return head  # one that is malformed is not ours to mend
    header = f"traceparent: 00-{trace}-{trace[16:]}-01\r\n".encode()
    return head[: end + 2] + header + head[end + 2 :]
