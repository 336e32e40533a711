"""The worker's stream to the sidecar: one connection, records both ways.

Whoever sends writes the line itself, so that a record sent before a response is safe before
that response is, even if the process is killed next: to memory that the sidecar shares with
a worker on its host (``seism_middleware.ring``), from where the background thread sends many
lines at once, or else to the kernel. What cannot be written at once waits in a bounded backlog
for the background thread. Nothing here blocks a request or raises into it.

Records are numbered as they are written, from 1, without a gap in one worker; a ``Dropped``
skips the numbers of the records that it stands for. What the kernel had taken before a
connection broke is not sent again: it may have arrived.
"""

from __future__ import annotations

import _socket
import atexit
import dataclasses
import logging
import os
import select
import socket
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from seism_middleware import native
from seism_middleware.contract import (
    TOKEN_VARIABLE,
    Dropped,
    Goodbye,
    Proxied,
    Proxies,
    RequestBegun,
    RequestEnded,
    Welcome,
)
from seism_middleware.ring import Ring, open_ring
from seism_middleware.wire import MAX_LINE, PROTOCOL, STREAM_PATH, ContractError, decode, encode

BACKLOG = 10_000
"""Records that wait for the sidecar at most; later ones are dropped and counted."""
CONNECT_TIMEOUT = 5.0
"""Seconds to connect and to be upgraded."""
RETRY_FIRST, RETRY_MOST, RETRY_REFUSED = 0.05, 2.0, 30.0
"""Seconds between attempts: growing, and after the sidecar has said no."""
OWN_SHARE, BATCH = 16, 64
"""Records that a request's thread writes on behalf of others; of one hold of the lock."""
LINGER = 0.05
"""Seconds for which records of requests may gather in the ring before they are sent."""
PATIENCE = 0.5
"""Seconds that the end of the process waits for the last records to be written."""

MAX_PROXIES = 16 * 1024
"""Proxies of a sidecar: a longer list ends the stream."""

# What the background thread does: a wake-up is a system call that is worth avoiding.
_ASLEEP, _LINGERING, _BUSY = range(3)
_PATIENT = (RequestBegun, RequestEnded)
_HEAD_LIMIT = 16 * 1024
_REFUSALS = {
    401: f"it wants a token: set the option 'token' or {TOKEN_VARIABLE}",
    403: f"it does not accept this token or host: check the option 'token' or {TOKEN_VARIABLE}",
    404: f"it has no {STREAM_PATH}: check that the address is a sidecar's control address",
}

_log = logging.getLogger(__name__)
_streams: weakref.WeakSet[Stream] = weakref.WeakSet()
_hooked = False


class _Refused(Exception):
    """The sidecar answered the upgrade with this status."""


class Stream:
    """A stream to the sidecar at ``address`` (host, port).

    ``hello`` makes the first record of each connection; ``receive`` is called with each
    record of the sidecar and ``tick`` with the time whenever the thread wakes, both in the
    background thread; ``tick`` returns the seconds after which it wants to be called again.
    """

    def __init__(
        self,
        address: tuple[str, int],
        token: str | None,
        hello: Callable[[], Any],
        receive: Callable[[Any], None],
        tick: Callable[[float], float | None],
        backlog: int = BACKLOG,
    ) -> None:
        self._address = address
        self._token = token
        self._hello = hello
        self._receive = receive
        self._tick = tick
        self._limit = backlog
        self._send: Callable[[bytes], int] = lambda data: 0
        self.dropped = 0
        """Records discarded by this worker so far."""
        self._reset()

    def _reset(self) -> None:
        self._lock = native.lock()
        self._join: Callable[[float], object] | None = None
        self._sock: socket.socket | None = None
        self._opening: socket.socket | None = None
        self._live = False
        self._closing = False
        self._backlog: deque[Any] = deque()
        self._rest = b""
        self._partial = b""
        """The line of which ``_rest`` is the rest."""
        self._ring: Ring | None = None
        self._state = _BUSY
        self._untold = 0
        self._number = 0
        self._warned = ""
        self._pipe: tuple[int, int] | None = None
        self._first: Welcome | Proxies | None = None
        self._proxies: list[Proxied] = []
        """The part that has come of a list of proxies, and the record that began it."""

    @property
    def connected(self) -> bool:
        """Whether records reach the sidecar now."""
        return self._live

    def start(self) -> None:
        """Start the background thread of this process; once per process."""
        global _hooked
        with self._lock:
            if self._join is not None:
                return
            _streams.add(self)
            if not _hooked:
                _hooked = True
                os.register_at_fork(after_in_child=_after_fork)
                atexit.register(_at_exit)
            self._pipe = os.pipe()
            for fd in self._pipe:
                os.set_blocking(fd, False)
            self._join = native.start(self._run, "seism-stream")

    def send(self, record: Any) -> None:
        """Write ``record`` now, or keep it for later, or drop it; never blocks, never raises."""
        with self._lock:
            kept = 0
            if not (self._backlog or self._untold):
                kept = self._directly(record)
            if not kept:
                self._keep(record)
                if self._live:
                    self._flush(OWN_SHARE)
            if self._state == _BUSY or self._sock is None:
                return
            ring = self._ring
            if ring is None:
                needed = bool(self._backlog or self._rest)
            else:
                full = not kept or 2 * kept > ring.size
                needed = full or self._state == _ASLEEP or type(record) not in _PATIENT
            if needed:
                self._state = _BUSY
                self._wake()

    def close(self, patience: float = PATIENCE) -> None:
        """Say goodbye and end; waits at most ``patience`` seconds for what is unsent."""
        join = self._join
        if join is None or self._closing:
            return
        self.send(Goodbye())
        self._closing = True  # after it: the thread leaves once all is said
        with self._lock:
            self._wake()
        join(patience)

    def after_fork(self) -> None:
        """In the child: the connection is the parent's; leave it alone, but let go of it."""
        inherited, pipe = (self._sock, self._opening), self._pipe
        self._reset()
        self.dropped = 0
        for sock in inherited:
            if sock is not None:
                sock.close()
        for fd in pipe or ():
            os.close(fd)

    # The lock is held in the methods from here to _wake.

    def _directly(self, record: Any) -> int:
        """Bytes in the ring if ``record`` was taken there, 1 if by the kernel, otherwise 0."""
        if not self._live or self._rest:
            return 0
        line = encode(record, self._number + 1)
        if len(line) > MAX_LINE:
            return 0
        ring = self._ring
        kept = int(self._taken(line)) if ring is None else ring.put(line)
        if kept:
            self._number += 1
        return kept

    def _keep(self, record: Any) -> None:
        if len(self._backlog) >= self._limit:
            self._untold += 1
            self.dropped += 1
            return
        if self._untold:
            self._backlog.append(Dropped(self._untold))
            self._untold = 0
        self._backlog.append(record)

    def _flush(self, most: int) -> None:
        """Write what the kernel takes at once, ``most`` records at most."""
        if self._rest and not self._pushed():
            return
        while self._backlog and most > 0:
            record = self._backlog[0]
            number = self._number
            if type(record) is bytes:
                line = record  # it had its number when a connection was lost
            else:
                number += 1 + (record.count if type(record) is Dropped else 0)
                line = encode(record, number)
            if len(line) > MAX_LINE:
                self._backlog.popleft()
                self._untold += 1
                self.dropped += 1
                continue
            if not (self._taken(line) if self._ring is None else self._ring.put(line)):
                return
            self._backlog.popleft()
            self._number = number
            if self._rest:
                return
            most -= 1
        if self._untold and not self._backlog:
            self._backlog.append(Dropped(self._untold))
            self._untold = 0

    def _pushed(self) -> bool:
        """Whether the kernel has taken the rest of a line."""
        self._rest = self._rest[self._sent(self._rest) :]
        if not self._rest:
            self._partial = b""
        return not self._rest

    def _taken(self, line: bytes) -> bool:
        """Whether the kernel has taken ``line``; if only a part of it, the rest is kept."""
        sent = self._sent(line)
        if 0 < sent < len(line):
            self._rest, self._partial = line[sent:], line
        return sent > 0

    def _sent(self, data: bytes) -> int:
        """The number of bytes of ``data`` that the kernel has taken."""
        if not self._live:
            return 0
        try:
            return self._send(data)
        except BlockingIOError:
            return 0
        except OSError:
            self._live = False
            return 0

    def _ship(self) -> bool:
        """Send what is in the ring; whether anything was."""
        ring, shipped = self._ring, False
        while ring is not None and not self._rest and ring.waiting:
            data = ring.pending()
            sent = self._sent(data)
            ring.sent(data[:sent])
            shipped = shipped or sent > 0
            if sent < len(data):
                break
        return shipped

    @property
    def _unsent(self) -> bool:
        ring = self._ring
        return bool(self._backlog or self._rest or (ring is not None and ring.waiting))

    def _lost(self) -> None:
        """The connection is over: a line of which a part was sent never arrived.

        A sidecar that lives may have read it in the ring, and knows it by its number.
        """
        unsent = [self._partial] if self._partial else []
        if self._ring is not None:
            unsent += self._ring.rest()
        self._backlog.extendleft(reversed(unsent))
        self._live = False
        self._rest = self._partial = b""
        self._ring = None
        self._sock = None
        self._first, self._proxies = None, []
        self._state = _BUSY

    def _wake(self) -> None:
        if self._pipe is not None:
            try:
                os.write(self._pipe[1], b"!")
            except BlockingIOError:
                pass  # full: it will wake

    # What follows runs in the background thread.

    def _run(self) -> None:
        try:
            self._connect_and_serve()
        finally:
            with self._lock:
                pipe, self._pipe = self._pipe, None
            for fd in pipe or ():
                os.close(fd)

    def _connect_and_serve(self) -> None:
        delay = RETRY_FIRST
        while True:  # one attempt at least, for a process that ends at once
            try:
                sock, rest = self._connect()
            except Exception as error:
                self._complain(error)
                self._pause(RETRY_REFUSED if isinstance(error, _Refused) else delay)
                delay = min(2 * delay, RETRY_MOST)
                if self._closing:
                    return
                continue
            self._warned = ""
            delay = RETRY_FIRST
            try:
                self._serve(sock, rest)
            except Exception:
                _log.warning("the stream to the sidecar failed and is opened anew", exc_info=True)
            finally:
                with self._lock:
                    self._lost()
                sock.close()
            if self._closing:
                return
            self._pause(delay)

    def _complain(self, error: Exception) -> None:
        """One line per kind of trouble, until the sidecar has been reached again."""
        where = "{}:{}".format(*self._address)
        if isinstance(error, _Refused):
            status = error.args[0]
            kind = f"refused {status}"
            line = f"the sidecar at {where} refuses this worker ({status}): " + _REFUSALS[status]
        else:
            kind = "away"
            line = f"no sidecar at {where} ({error}): requests go on unobserved, trying again"
        if kind != self._warned:
            self._warned = kind
            _log.warning("%s", line)

    def _pause(self, seconds: float) -> None:
        """Wait, ticking and deaf to new records; ends early when the stream is closed."""
        until = time.monotonic() + seconds
        while not self._closing and (left := until - time.monotonic()) > 0:
            self._poll(None, min(left, self._ticked(left)))

    def _ticked(self, otherwise: float) -> float:
        try:
            wanted = self._tick(time.monotonic())
        except Exception:
            _log.warning("correlating failed", exc_info=True)
            return otherwise
        return otherwise if wanted is None else wanted

    def _poll(self, sock: socket.socket | None, seconds: float) -> int:
        """Wait for the socket or a wake-up; the socket's events."""
        assert self._pipe is not None
        poll = native.original("select", "poll")()
        poll.register(self._pipe[0], select.POLLIN)
        if sock is not None:
            writing = select.POLLOUT if self._unsent and self._state == _BUSY else 0
            poll.register(sock.fileno(), select.POLLIN | writing)
        events = dict(poll.poll(max(1, int(seconds * 1000))))
        if events.pop(self._pipe[0], 0):
            try:
                os.read(self._pipe[0], 4096)
            except OSError:
                pass
        return next(iter(events.values()), 0)

    def _connect(self) -> tuple[socket.socket, bytes]:
        """A connection that has been upgraded, and what came after the answer's head."""
        until = time.monotonic() + CONNECT_TIMEOUT
        host, port = self._address
        # Bytes: a str imports the idna codec, and a fork during an import breaks the child.
        sock = native.connect(host.encode(), port, CONNECT_TIMEOUT)
        self._opening = sock
        try:
            sock.sendall(self._request())
            head = b""
            while b"\r\n\r\n" not in head:
                sock.settimeout(max(0.001, until - time.monotonic()))
                data = sock.recv(4096)
                if not data or len(head) > _HEAD_LIMIT:
                    raise ValueError("it closed the connection instead of upgrading it")
                head += data
            head, _, rest = head.partition(b"\r\n\r\n")
            self._check(head)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setblocking(False)
            return sock, rest
        except BaseException:
            sock.close()
            raise
        finally:
            self._opening = None

    def _request(self) -> bytes:
        host, port = self._address
        lines = [
            f"GET {STREAM_PATH} HTTP/1.1",
            f"Host: [{host}]:{port}" if ":" in host else f"Host: {host}:{port}",
            "Connection: Upgrade",
            f"Upgrade: {PROTOCOL}",
        ]
        if self._token:
            lines.append(f"Authorization: Bearer {self._token}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def _check(self, head: bytes) -> None:
        words = head.split(b"\r\n", 1)[0].split()
        if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
            raise ValueError("what answers there is not HTTP")
        status = int(words[1])
        if status in _REFUSALS:
            raise _Refused(status)
        if status != 101:
            raise ValueError(f"it answered {status} instead of upgrading the connection")

    def _serve(self, sock: socket.socket, received: bytes) -> None:
        """Relay records until the connection ends or the stream is closed and all is sent."""
        hello = self._hello()
        with self._lock:
            self._sock = sock
            # Past our own patches and whatever gevent makes of a socket: it never blocks.
            self._send = _socket.socket.send.__get__(getattr(sock, "_sock", sock))
            if self._backlog and type(self._backlog[0]) is bytes:
                hello = encode(hello)  # without a number: those that follow are lower
            self._backlog.appendleft(hello)
            self._live = True
        received = self._lines(received)
        while True:
            with self._lock:
                if not self._live:
                    return
                self._flush(BATCH)
                shipped = self._ship()
                idle = not self._unsent
                self._state = _BUSY if not idle else _LINGERING if shipped else _ASLEEP
            if self._closing and idle:
                self._take_leave(sock)
                return
            longest = LINGER if self._state == _LINGERING else 10.0
            events = self._poll(sock, min(longest, self._ticked(longest)))
            if events & ~select.POLLOUT:
                try:
                    data = sock.recv(65536)
                except BlockingIOError:
                    continue
                except OSError:
                    return
                if not data:
                    return
                received = self._lines(received + data)

    def _take_leave(self, sock: socket.socket) -> None:
        """Close in order: a close with something unread would discard what we have sent."""
        until = time.monotonic() + PATIENCE / 2
        try:
            sock.shutdown(socket.SHUT_WR)
            while (left := until - time.monotonic()) > 0:
                if self._poll(sock, left) & ~select.POLLOUT and not sock.recv(65536):
                    return
        except OSError:
            pass

    def _lines(self, data: bytes) -> bytes:
        """Take in the whole lines of ``data``; the rest of it."""
        *lines, rest = data.split(b"\n")
        for line in lines:
            try:
                record, _ = decode(line)
            except ContractError as error:
                _log.warning("a line of the sidecar is not understood: %s", error)
                continue
            if record is None:
                continue
            if type(record) is Welcome and record.ring:
                with self._lock:
                    self._ring = open_ring(record.ring, record.ring_key)
            if isinstance(record, Welcome | Proxies):
                record = self._whole(record)
                if record is None:
                    continue
            try:
                self._receive(record)
            except Exception:
                _log.warning("a record of the sidecar could not be handled", exc_info=True)
        if len(rest) > MAX_LINE:
            raise ContractError("a line of the sidecar is too long")
        return rest

    def _whole(self, record: Welcome | Proxies) -> Welcome | Proxies | None:
        """The record with its whole list of proxies, or None while parts are missing."""
        self._proxies += record.proxies
        if len(self._proxies) > MAX_PROXIES:
            raise ContractError(f"more than {MAX_PROXIES} proxies")
        first = self._first or record
        if record.more:
            self._first = first
            return None
        whole = dataclasses.replace(first, proxies=tuple(self._proxies), more=False)
        self._first, self._proxies = None, []
        return whole


def _after_fork() -> None:
    for stream in list(_streams):
        stream.after_fork()


def _at_exit() -> None:
    for stream in list(_streams):
        stream.close()
