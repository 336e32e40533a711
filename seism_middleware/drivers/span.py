"""The time that a request spends inside a call of a driver written in C, as a claim.

Such a driver writes past every patch. But the kernel counts the bytes that it wrote on its
socket (``TCP_INFO``): read before and after the call, the counts say which bytes of the
connection the call has written, and the call is made by a request. While it lasts, its
claim has no end.

Some drivers do not tell their descriptor. A thread that is blocked on a socket in a call of the
driver shows it, to whoever looks then. Otherwise it is found by exclusion: of the sockets that
lead to a proxy and that nobody is known to own, those are left whose counts have moved in every
call of the driver that went well. One that has been closed meanwhile may have been the driver's,
too: as long as that is possible, none of the others is.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any
from weakref import WeakSet

from seism_middleware import native
from seism_middleware.blocked import frame_of, readable, system_call, threads, waited_for
from seism_middleware.contract import DRIVER
from seism_middleware.guard import shielded
from seism_middleware.handle import Handle
from seism_middleware.ledger import Ledger
from seism_middleware.shown import shows, values
from seism_middleware.tcp import counts, received, written
from seism_middleware.traffic import Claim, Connection, Request, running

ENDLESS = 1 << 62
"""The length of a claim that goes on."""
CLOSED = ""
"""Stands among the candidates for a socket that is not there any more."""
LOOK_EVERY = 0.005
"""Seconds between looks at the threads, which take some 20 µs for each of them."""
MAX_SPANS = 64
"""Calls remembered of a driver whose descriptor has not been found yet."""

Patch = tuple[Any, str, Callable[[Any], Any]]
"""(class or module, the name in it, original -> what is put there)."""

Peers = Callable[[Exception], Iterable[tuple[str, int]]]
"""What a call raised -> the addresses (host, port) that it could not connect to."""

Counts = dict[str, int]
"""Local address of a socket -> bytes written on it."""


class Track:
    """What is known of the one connection of a driver's object."""

    __slots__ = (
        "__weakref__",
        "away", "candidates", "connection", "elsewhere", "handle", "lasting", "proxies",
        "running", "spans",
    )  # fmt: skip

    def __init__(self) -> None:
        self.connection: Connection | None = None
        self.handle: Handle | None = None
        """Kept alive here: the ledger lets go of a connection whose socket nobody holds."""
        self.elsewhere: Handle | None = None
        """Its socket, if that leads to no proxy."""
        self.proxies = 0
        """When that was looked up, as a count of changes of the list of proxies."""
        self.lasting = False
        """The driver's object never connects anew: what its socket is, it is for ever."""
        self.away: Ledger | None = None
        """The ledger, once a lasting connection is known to lead elsewhere."""
        self.running: list[Span] = []
        """The calls that have not returned: one, unless threads share the object."""
        self.candidates: set[str] | None = None
        """Local addresses one of which is its own; None as long as nothing is known of it."""
        self.spans: list[tuple[Span, Counts]] = []
        """Calls so far and what had been written after each, until the socket is known."""


class Span:
    """One call; ``claim`` once its connection is known."""

    __slots__ = (
        "answered",
        "at",
        "before",
        "claim",
        "lost",
        "raised",
        "refused",
        "request",
        "sure",
        "thread",
        "track",
    )

    def __init__(self, track: Track, request: Request | None) -> None:
        self.track = track
        self.request = request
        self.thread = threading.get_ident()
        self.at = time.monotonic()
        self.claim: Claim | None = None
        self.answered = 0
        self.before: Counts = {}
        self.sure = True
        self.raised = self.lost = False
        self.refused = False
        """It has been told as a failed connect."""


class Spans:
    """Turns calls of drivers into claims of ``ledger``."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.renew()

    def renew(self) -> None:
        """Start anew, in a forked child as well."""
        self._lock = native.rlock()
        self._searching: WeakSet[Track] = WeakSet()
        """Those whose socket is one of several."""
        self._unknown: set[Span] = set()
        """The calls that run now of drivers whose sockets are not known."""
        self._looked = 0.0

    # Drivers' calls pass here: what is wrong with us must not reach them (``guard``).

    @shows("span")
    def call(
        self,
        track: Track,
        fileno: Callable[[], int | None],
        function: Callable[[], Any],
        peers: Peers | None = None,
        lost: type[Exception] | tuple[()] = (),
    ) -> Any:
        """What ``function()`` returns; ``fileno`` gives the descriptor, None if unknown yet.

        ``peers`` is asked when it raised and had no connection when it began. ``lost`` is what
        it raises when its connection has ended, where it leaves the descriptor open then.
        """
        span = self.enter(track, fileno())
        if span is None:
            return function()
        unconnected = span.claim is None
        try:
            result = function()
        except BaseException as error:
            span.lost = isinstance(error, lost)
            self.leave(span, fileno(), False)
            if unconnected:
                self.failed(span, error, peers)
            raise
        self.leave(span, fileno())
        return result

    @shows("span")
    def call_blind(
        self,
        track: Track,
        function: Callable[[], Any],
        fresh: bool = False,
        silent: bool = False,
        connects: bool = False,
        peers: Peers | None = None,
    ) -> Any:
        """The same for a driver that never tells its descriptor.

        ``fresh``: the call makes a new connection; ``connects``: it may, if it finds that the
        driver has none; ``silent``: it may send nothing.
        """
        fd = self._descriptor(track, fresh)
        if fd is not None:
            return self.call(track, lambda: fd, function)
        span = self._enter_blind(track)
        if span is None:
            return function()
        try:
            result = function()
        except BaseException as error:
            self._leave_blind(span, False, silent, fresh or connects)
            if span.claim is None:
                self.failed(span, error, peers)
            raise
        self._leave_blind(span, True, silent, fresh or connects)
        return result

    @shielded
    def _descriptor(self, track: Track, fresh: bool) -> int | None:
        """The descriptor that was found for the driver's object, if it is still its own."""
        if fresh:
            track.connection = track.handle = track.candidates = None
            track.spans.clear()
        connection = track.connection
        if connection is None:
            return None
        if track.handle is not None and track.handle.fileno() == connection.fd:
            return connection.fd
        self.ledger.closed(connection.fd, connection)
        track.connection = track.handle = track.candidates = None
        return None

    @shielded
    def _enter_blind(self, track: Track) -> Span | None:
        span = self._begin(track)
        if span is not None:
            try:
                span.before = self._unowned()
                self._unknown.add(span)
            except Exception:
                self._undo(span)
                raise
        return span

    @shielded
    def _leave_blind(self, span: Span, done: bool, silent: bool, connects: bool) -> None:
        self._unknown.discard(span)
        span.raised = not done
        try:
            if span.claim is None:
                if not done:
                    span.track.candidates = None  # whatever it had may be gone
                self._exclude(span, done and not silent, connects)
        finally:
            self._end(span)

    @shielded
    def enter(self, track: Track, fd: int | None) -> Span | None:
        """A call begins; None if it is a part of one that is running."""
        span = self._begin(track)
        if span is not None and fd is not None and fd >= 0:
            try:
                connection = self._known(track, fd, None)
                if connection is not None:
                    self._claim(span, connection)
            except Exception:
                self._undo(span)
                raise
        return span

    @shielded
    def leave(self, span: Span, fd: int | None, done: bool = True) -> None:
        """The call has ended, or the descriptor is known only now; not ``done``: it raised."""
        track = span.track
        span.raised = not done
        try:
            if fd is not None and fd >= 0:
                if track.connection is not None and track.connection.fd != fd:
                    self._close(span)  # the driver has connected anew
                    span.claim = None
                if span.claim is None:
                    self._known(track, fd, span)
        finally:
            self._end(span, fd)

    @shielded
    def failed(self, span: Span, error: BaseException, peers: Peers | None) -> None:
        """The call of ``span``, which began without a connection, raised ``error``."""
        if span.refused or peers is None or not isinstance(error, Exception):
            return
        found = [self.ledger.backend_at(host, port) for host, port in peers(error)]
        for backend in dict.fromkeys(found):
            if backend is not None:
                self.ledger.refused(backend, span.at)

    @shielded
    def tell(self, span: Span, fd: int) -> None:
        """The descriptor of the connection that ``span`` is making is known."""
        if span.claim is None and fd >= 0:
            self._known(span.track, fd, span)

    def _undo(self, span: Span) -> None:
        """A call that could not be entered does not run."""
        span.track.running.remove(span)
        self._unknown.discard(span)

    # One call of a driver's object at a time; what is known of more is only possible.

    def _begin(self, track: Track) -> Span | None:
        request = running()
        span = Span(track, request)
        for other in list(track.running):
            if other.thread == span.thread and other.request is request:
                return None
            span.sure = other.sure = False
            if other.claim is not None:
                other.claim.sure = False
        track.running.append(span)
        return span

    def _end(self, span: Span, fd: int | None = None) -> None:
        track = span.track
        track.running.remove(span)
        self._close(span, fd)
        if self._unknown and time.monotonic() > self._looked + LOOK_EVERY:
            self.look()

    def _close(self, span: Span, fd: int | None = None) -> None:
        """Nothing more is written on the connection of ``span`` by its call.

        ``fd``: what the driver says that its descriptor is now.
        """
        track = span.track
        connection, claim, handle = track.connection, span.claim, track.handle
        if connection is None or claim is None or handle is None:
            return
        alive = (fd if track.lasting and fd is not None else handle.fileno()) == connection.fd
        count = written(handle) if alive else None
        if count is not None:
            self._settle(connection, span, claim, count)
        if not alive:
            track.connection = track.handle = None
            self.ledger.closed(connection.fd, connection)
        if span.lost or (span.raised and not alive):
            self._gave_up(connection, span)

    def _gave_up(self, connection: Connection, span: Span) -> None:
        """The call of ``span`` raised, as the driver has lost ``connection`` in it.

        Where nothing had arrived before it, the connect may as well have failed: the kernel
        accepts connections that the proxy never sees.
        """
        connection.broke = span.request, time.monotonic()
        for told in list(self.ledger.on_broken):
            told(connection)
        if connection.opener is span.request and connection.answered == 0:
            span.refused = True
            self.ledger.refused(connection.backend, connection.born)

    def _known(self, track: Track, fd: int, opening: Span | None) -> Connection | None:
        """The connection of ``fd``; one that is new was made by ``opening``, if by a call."""
        handle = track.handle
        if track.connection is not None and handle is not None:
            same = track.connection.fd == fd and (track.lasting or handle.fileno() == fd)
            if same and not self.ledger.leads_elsewhere(track.connection):
                return track.connection
            track.connection = track.handle = None
        if track.elsewhere is not None:
            if track.elsewhere.fileno() == fd and track.proxies == self.ledger.changes:
                track.away = self.ledger if track.lasting else None
                return None
            track.elsewhere = track.away = None
        changes = self.ledger.changes
        try:
            handle = Handle(fd)
            peer = handle.getpeername()
        except OSError:
            return None
        backend = self.ledger.backend_of(peer)
        if backend is None:
            track.elsewhere, track.proxies = handle, changes
            track.away = self.ledger if track.lasting else None
            return None
        return self._add(track, handle, backend, opening)

    def _add(self, track: Track, handle: Handle, backend: str, opening: Span | None) -> Connection:
        born = opening.at if opening else 0.0
        opener = opening.request if opening else None
        connection = self.ledger.connection(handle, backend, born, opener)
        connection.source = DRIVER
        track.connection, track.handle = connection, handle
        if opening is not None:
            self._claim(opening, connection, 0)
            opening.claim.at = opening.at  # type: ignore[union-attr]
        self.ledger.add(connection)
        return connection

    def _claim(self, span: Span, connection: Connection, start: int | None = None) -> None:
        handle = span.track.handle
        assert handle is not None
        arrived = None
        if start is None:
            count, arrived = counts(handle)
            start = count or 0
            if start > connection.sent:
                # Written outside of every call that we see: nobody knows by whom.
                unknown = Claim(connection.sent, start - connection.sent, None, span.at, False)
                connection.claims.append(unknown)
        span.answered = connection.answered
        connection.sent = start
        span.claim = claim = self.ledger.claim(connection, 0, handle, arrived)
        claim.sure = claim.sure and span.sure
        claim.length = ENDLESS

    def _settle(self, connection: Connection, span: Span, claim: Claim, count: int) -> None:
        claim.length = max(0, count - claim.offset)
        connection.sent = max(connection.sent, count)
        if claim.length:
            if claim.request is not None and connection in claim.request.sends:
                claim.request.sends[connection][1] += claim.length
            return
        # It wrote nothing, so it asked nothing: as if it had not been.
        if connection.claims and connection.claims[-1] is claim:
            connection.claims.pop()
            connection.answered = span.answered
        if claim.request is not None:
            counted = claim.request.sends.get(connection)
            if counted is not None:
                counted[0] -= 1
                if not counted[0]:
                    del claim.request.sends[connection]

    # A driver that does not tell its descriptor.

    def _unowned(self) -> Counts:
        """The sockets that lead to a proxy and that nobody is known to own."""
        counts = {local: written(handle) for handle, local, _ in self.ledger.unowned()}
        return {local: count for local, count in counts.items() if count is not None}

    def _exclude(self, span: Span, sent: bool, connects: bool) -> None:
        """Look which sockets the call of ``span`` may have used, surely did if it ``sent``."""
        after = self._unowned()
        with self._lock:
            track = span.track
            if track.connection is None:
                track.spans.append((span, after))
                track.candidates = self._left(span, after, sent, connects)
                if not track.candidates or len(track.spans) > MAX_SPANS:
                    track.spans.clear()  # it cannot be told from others
                    track.candidates = None
                elif sent:
                    self._searching.add(track)
            for searching in list(self._searching):
                self._settle_on_one(searching)

    def look(self) -> None:
        """See which sockets the calls are blocked on whose own are not known: those are they."""
        if not self._unknown or not readable():
            return
        with self._lock:
            self._looked = time.monotonic()
            unowned = {handle.fileno(): local for handle, local, _ in self.ledger.unowned()}
            for thread in threads():
                try:
                    words = system_call(thread)
                    own = [unowned[fd] for fd in waited_for(words) if fd in unowned]
                    span = _innermost(frame_of(thread)) if len(own) == 1 else None
                    # Blocked on it while that call ran: it runs still, and so did at both looks.
                    if span is None or system_call(thread) != words or span not in self._unknown:
                        continue
                except OSError:
                    continue  # the thread has ended, or is not blocked any more
                if span.track.connection is None:
                    span.track.candidates = set(own)
                    self._settle_on_one(span.track)

    def _left(self, span: Span, after: Counts, sent: bool, connects: bool) -> set[str] | None:
        """The candidates after a call; one of them is the driver's own, whatever happened."""
        before, known = span.before, span.track.candidates
        if known is None and not sent:
            return None
        # A socket that is new may be the driver's, which connects anew when it likes.
        new = after.keys() - before.keys()
        old = before.keys() if known is None else known - {CLOSED}
        gone = {x for x in old - after.keys() if not self.ledger.owns(x)}
        if sent:
            left = {x for x in (old | new) & after.keys() if after[x] != before.get(x)}
            # Nobody does well on what was closed before, unless by a new one, lost meanwhile.
            closed = bool(gone) or known is None if connects else bool(gone & before.keys())
        else:
            left = (old | new) & after.keys()
            closed = bool(gone) or CLOSED in (known or ())
        return left | {CLOSED} if closed else left

    def _settle_on_one(self, track: Track) -> None:
        """What is found for one is no other's, so that these may have one left, too."""
        candidates = track.candidates
        if not candidates or track.connection is not None:
            self._searching.discard(track)
        elif len(candidates) == 1:
            self._searching.discard(track)
            (local,) = candidates
            if not self._found(track, local):
                track.candidates = None
                track.spans.clear()
                return
            for other in list(self._searching):
                if other.candidates and local in other.candidates:
                    other.candidates = other.candidates - {local}
                    self._settle_on_one(other)

    def _found(self, track: Track, local: str) -> bool:
        """Claim what the calls so far have written, then tell of the connection.

        False if it has been closed meanwhile.
        """
        found = next((each for each in self.ledger.unowned() if each[1] == local), None)
        if found is None:
            return False
        handle, _, backend = found
        spans, track.spans = track.spans, []
        over = [span for span, _ in spans]
        begun = [span for span in track.running if span not in over]
        # The call in which it appeared has made it.
        made = [span for span, after in spans if local in after] + begun
        first = next((span for span in made if local not in span.before), None)
        connection = self.ledger.connection(
            handle, backend, first.at if first else 0.0, first.request if first else None
        )
        connection.source = DRIVER
        connection.answered = received(handle)
        for span, after in spans:
            if local in after:
                _replay(connection, span, span.before.get(local, 0), after[local])
        for span in begun:
            span.claim = _replay(connection, span, span.before.get(local, 0), ENDLESS)
        track.connection, track.handle = connection, handle
        self.ledger.add(connection)
        return True


def _innermost(frame: FrameType | None) -> Span | None:
    """The call of a driver that the frame is in; of nested ones the inner one."""
    return next((shown for shown in values(frame) if isinstance(shown, Span)), None)


def _replay(connection: Connection, span: Span, start: int, end: int) -> Claim | None:
    """Claim ``[start, end)`` for a call that is over, or, if it is endless, is not."""
    if start > connection.sent:
        unknown = Claim(connection.sent, start - connection.sent, None, span.at, False)
        connection.claims.append(unknown)
    if end == start:
        return None
    lasts = end == ENDLESS
    connection.sent = start if lasts else max(connection.sent, end)
    request = span.request
    claim = Claim(start, end - start, request, span.at, span.sure)
    connection.claims.append(claim)
    if request is not None and request.over is None:
        counted = request.sends.setdefault(connection, [0, 0])
        counted[0] += 1
        counted[1] += 0 if lasts else end - start
    return claim


@shielded
def track_of(owner: Any) -> Track:
    """The track of a driver's object, which has one from now on."""
    track: Track | None = owner.__dict__.get("_seism")
    if track is None:
        track = owner.__dict__["_seism"] = Track()
    return track
