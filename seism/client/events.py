"""Server-sent events (WHATWG HTML, 9.2), read and reconnected."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from seism.client.control import Control, refusal
from seism.errors import ProtocolError, Unavailable

if TYPE_CHECKING:
    from seism_middleware.contract import PerturbationBegan, PerturbationEnded

EVENTS_PATH = "/seism/events"
LONGEST_EVENT = 1024 * 1024
"""Bytes of one event, its lines together."""
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
"""Seconds between two attempts to connect, doubled each time."""
CONNECT_SECONDS = 10.0
"""How long the sidecar may take to open the stream."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event: ``id`` is the last that was given, ``data`` its lines joined."""

    id: str
    data: str
    name: str = ""


class Parser:
    """Bytes in, events out, however the bytes are cut."""

    def __init__(self, last_id: str = "") -> None:
        self.last_id = last_id
        self._line = bytearray()
        self._data: list[str] = []
        self._id = last_id
        self._name = ""
        self._size = 0
        self._after_cr = False
        self._first = True

    def feed(self, data: bytes) -> Iterator[Event]:
        """The events that ``data`` completes. Raises ProtocolError if one is too long."""
        for line in self._lines(data):
            event = self._take(line)
            if event is not None:
                yield event

    def _lines(self, data: bytes) -> Iterator[str]:
        # A line ends in CRLF, LF or CR; CRLF may be cut in two.
        if self._after_cr and data:
            data = data.removeprefix(b"\n")
            self._after_cr = False
        self._after_cr = data.endswith(b"\r") or (self._after_cr and not data)
        self._line += data
        if b"\n" in data or b"\r" in data:
            lines = self._line.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
            self._line = lines.pop()
            for line in lines:
                text = line.decode("utf-8", "replace")
                if self._first:
                    text = text.removeprefix("\ufeff")
                    self._first = False
                yield text
        if len(self._line) + self._size > LONGEST_EVENT:
            raise ProtocolError(f"an event is longer than {LONGEST_EVENT} bytes")

    def _take(self, line: str) -> Event | None:
        if not line:
            return self._dispatch()
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            self._data.append(value)
            self._size += len(value)
        elif field == "event":
            self._name = value
        elif field == "id" and "\0" not in value:
            self._id = value
        return None

    def _dispatch(self) -> Event | None:
        self.last_id = self._id
        name, self._name = self._name, ""
        if not self._data:
            return None
        event = Event(self.last_id, "\n".join(self._data), name)
        self._data.clear()
        self._size = 0
        return event


class Feed:
    """The sidecar's records, as an iterator. Connected from its making on.

    Close it, or use it in a ``with`` block. One thread at a time may iterate; another
    may close it, which ends the iteration.
    """

    def __init__(
        self,
        control: Control,
        *,
        timeout: float | None,
        after: str,
        patience: float,
        query: str = "",
    ) -> None:
        """``Client.perturbations`` and ``Client.events`` make one. Raises Unavailable if the
        sidecar is away.
        """
        self._control = control
        self._timeout = timeout
        self._patience = patience
        self._path = f"{EVENTS_PATH}?{query}" if query else EVENTS_PATH
        self.last_id = after
        """The id of the last event that was seen."""
        self.missed = 0
        """Records that will never come, because the sidecar keeps only so many."""
        self.lost = False
        """Whether records are missing that nobody has counted: the sidecar was another one."""
        self._closed = False
        self._reading = threading.Lock()
        self._events = self._read()
        self._socket: socket.socket | None = None
        self._response: http.client.HTTPResponse | None = None
        self._connect()

    @property
    def connected(self) -> bool:
        """Whether the stream is open now; otherwise it is being connected anew, or closed."""
        return self._socket is not None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> PerturbationBegan | PerturbationEnded:
        # A third of the client's import time, for those who read no feed.
        from seism_middleware import contract, wire

        kinds: dict[str, type[PerturbationBegan | PerturbationEnded]] = {
            contract.PerturbationBegan.kind: contract.PerturbationBegan,
            contract.PerturbationEnded.kind: contract.PerturbationEnded,
        }
        while True:
            try:
                record = wire.from_dict(self.next_values(), kinds)
            except wire.ContractError as error:
                raise ProtocolError(str(error)) from None
            if record is not None:
                found: PerturbationBegan | PerturbationEnded = record
                return found

    def next_values(self) -> dict[str, Any]:
        """The next record as it is sent, of whatever kind. Raises StopIteration at the end."""
        while True:
            event = next(self._events)
            try:
                values = json.loads(event.data)
            except (ValueError, RecursionError) as error:
                raise ProtocolError(f"an event is not JSON: {error}") from None
            if event.name == "missed":
                self._miss(values)
            elif isinstance(values, dict) and isinstance(values.get("kind"), str):
                return values

    def _miss(self, counts: Any) -> None:
        if isinstance(counts, dict):
            self.missed += sum(count for count in counts.values() if isinstance(count, int))
        else:
            self.lost = True

    def close(self) -> None:
        """End the iteration and the connection."""
        self._closed = True
        self._disconnect()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self) -> Iterator[Event]:
        try:
            parser = Parser(self.last_id)
            quiet_from = time.monotonic()
            while not self._closed:
                left = None
                if self._timeout is not None:
                    left = quiet_from + self._timeout - time.monotonic()
                    if left <= 0:
                        return
                try:
                    data = self._receive(left)
                except TimeoutError:
                    return
                if not data:
                    self._reconnect()
                    parser = Parser(self.last_id)
                for event in parser.feed(data):
                    self.last_id = event.id
                    yield event
                    quiet_from = time.monotonic()
        finally:
            self.close()

    def _receive(self, seconds: float | None) -> bytes:
        """Some bytes, none at the end of the stream. Raises TimeoutError."""
        with self._reading:
            sock, response = self._socket, self._response
            if sock is None or response is None:
                return b""
            try:
                sock.settimeout(seconds)
                return response.read1(64 * 1024)
            except TimeoutError:
                raise
            except (OSError, http.client.HTTPException):
                return b""  # broken, or cut short in a chunk

    def _reconnect(self) -> None:
        end = time.monotonic() + self._patience
        pause = FIRST_PAUSE
        while not self._closed:
            try:
                self._connect()
                return
            except Unavailable:
                if time.monotonic() + pause > end:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _connect(self) -> None:
        """Raises Unavailable if nobody answers, the error of its status if it says no."""
        self._disconnect()
        headers = {**self._control.headers, "Accept": "text/event-stream"}
        if self.last_id:
            headers["Last-Event-ID"] = self.last_id
        connection = http.client.HTTPConnection(
            self._control.host, self._control.port, timeout=CONNECT_SECONDS
        )
        try:
            connection.request("GET", self._path, headers=headers)
            # Kept here, as the connection forgets it where the answer ends with its close.
            sock = connection.sock
            response = connection.getresponse()
            if response.status != 200:
                raise refusal(response.status, response.read(), f"GET {EVENTS_PATH}")
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise self._control.away(error) from None
        except BaseException:
            connection.close()
            raise
        self._socket, self._response = sock, response
        if self._closed:
            self._disconnect()

    def _disconnect(self) -> None:
        sock = self._socket
        if sock is not None:
            try:
                # Wakes a thread that reads from it, which closing alone does not.
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        with self._reading:
            sock, response = self._socket, self._response
            self._socket = self._response = None
            if sock is not None:
                sock.close()
            if response is not None:
                response.close()
