"""The send ledger: which request wrote which bytes of which backend connection.

A claim is made before bytes leave, because they can be at the proxy before ``send``
returns; it is corrected afterwards if fewer bytes left. Connections are keyed by file
descriptor while they are open (sockets have no room for state) and by their local
address ever after, because a perturbation can be told of late.

The kernel counts as well (``seism_middleware.tcp``). Where it
has seen more bytes than were claimed, something wrote past us (TLS, sendfile): such a
connection is ``opaque`` and its offsets mean nothing.
"""

from __future__ import annotations

import gc
import re
import socket
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from seism_middleware import harm, native
from seism_middleware.bounded import Bounded
from seism_middleware.contract import OpenConnection, Proxied
from seism_middleware.handle import Handle, connected
from seism_middleware.propagation import doubtful, unsure
from seism_middleware.snapshot import snapshot
from seism_middleware.tcp import address_text, received, written
from seism_middleware.traffic import (
    Claim,
    Connection,
    Request,
    collection,
    current,
    running,
    writer,
)

MAX_HISTORY = 4096
"""Closed connections kept."""
EXPECTED = 5.0
"""Seconds from the start for which every connection may turn out to be one to a proxy: as long
as a first attempt to reach the sidecar may take."""
UNNAMED = ""
"""The backend of such a connection, until the proxies are known."""
MAX_REFUSALS = 1024
"""Failed connects kept."""
MAX_UNOWNED = 1024
"""Local addresses kept of sockets that a C library owns or owned."""

UNKNOWN: Any = object()
"""What ``Ledger.table`` answers for a descriptor that nobody has looked at."""

# Asked in each send: an attribute of a module costs as much as the call.
_current, _doubtful, _monotonic = current.get, doubtful.get, time.monotonic


@dataclass(slots=True)
class FailedConnect:
    """A connect of ``request`` to the proxy ``backend`` that failed, from ``since`` to ``at``."""

    since: float
    at: float
    backend: str
    request: Request
    outage: str = ""
    """The perturbation that it is attributed to: the first that it overlaps, which no connect
    survives. ``at`` is later than the failure, by as much as the thread waits to run again."""

    def belongs(self, outage: str, backend: str, began: float, ended: float) -> bool:
        """Whether it failed because that proxy was down then; from now on it did."""
        overlaps = self.backend == backend and began <= self.at and self.since <= ended
        if overlaps and not self.outage:
            self.outage = outage
        return overlaps and self.outage == outage


class Ledger:
    """All connections of this process to proxied backends, open and closed."""

    def __init__(self) -> None:
        self.table: dict[int, Connection | None] = {}
        """Descriptor -> connection, None for one that leads elsewhere. Read by each send."""
        self.refusals: deque[FailedConnect] = deque(maxlen=MAX_REFUSALS)
        self.on_refusal: list[Callable[[FailedConnect], None]] = []
        self.on_connection: list[Callable[[Connection], None]] = []
        """Told of each connection once it can be found."""
        self.on_broken: list[Callable[[Connection], None]] = []
        """Told of each connection that a driver has given up, after ``Connection.broke`` is set."""
        self.changes = 0
        """How often the list of proxies has changed."""
        self._open: dict[int, Connection] = {}
        self._by_local: dict[str, list[Connection]] = {}
        self._closed: deque[Connection] = deque()
        self._unowned: Bounded[str, None] = Bounded(MAX_UNOWNED)
        """Local addresses of which nothing but that was known here; closed ones, too."""
        self._watched: dict[int, tuple[Proxied, ...]] = {}
        self._ports: dict[int, list[Proxied]] = {}
        self._encrypted: frozenset[str] = frozenset()
        self._until = 0.0
        """When the proxies should be known at last; 0 once they are."""
        # Sockets are also closed by the garbage collector, at any point of any thread.
        self._lock = native.rlock()

    def expect(self) -> None:
        """A worker begins: its first requests can come before it is told of the proxies.

        Until then, and for ``EXPECTED`` seconds at most, each connection is followed.
        """
        if not any(self._watched.values()):
            self._until = _monotonic() + EXPECTED
            self.changes += 1  # what was looked up before is not known any more

    @property
    def is_told(self) -> bool:
        """Whether the proxies are known, or will not be any more."""
        return not self._until or _monotonic() >= self._until

    def leads_elsewhere(self, connection: Connection) -> bool:
        """Whether ``connection``, followed while the proxies were not known, leads to none."""
        if self._until or connection.backend != UNNAMED:
            return False
        with self._lock:  # they may be being named
            return connection.backend == UNNAMED

    def _settle(self) -> None:
        """Name the connections that have been followed, and forget those that lead elsewhere."""
        self._until = 0.0
        for connection in snapshot(self._open.values()) + snapshot(self._closed):
            if connection.backend != UNNAMED or self._name(connection):
                continue
            if self._open.get(connection.fd) is connection:
                del self._open[connection.fd]
                self.table[connection.fd] = None
            self._forget(connection)

    def _name(self, connection: Connection) -> bool:
        """Name a connection that has been followed; False if it leads elsewhere."""
        host, _, port = connection.peer.rpartition(":")
        sock = connection.sock()
        peer: Any = (host.strip("[]"), int(port)) if port else None
        if peer is None and sock is not None:
            try:
                peer = sock.getpeername()
            except OSError:
                pass  # it never was connected
        backend = self.backend_of(peer)
        if backend is None:
            return False
        connection.backend = backend
        connection.opaque = connection.opaque or backend in self._encrypted
        return True

    def watch(self, owner: int, proxies: Iterable[Proxied]) -> None:
        """Replace the list of proxies that ``owner`` (any number) is interested in."""
        with self._lock:
            self._watched[owner] = tuple(proxies)
            ports: dict[int, list[Proxied]] = {}
            for listed in self._watched.values():
                for proxy in listed:
                    ports.setdefault(proxy.port, []).append(proxy)
            self._ports = ports
            self.changes += 1
            self._encrypted = frozenset(
                proxy.name for listed in self._watched.values() for proxy in listed if proxy.tls
            )
            if self._until:
                self._settle()
            for fd in [fd for fd, found in list(self.table.items()) if found is None]:
                self.table.pop(fd, None)

    def backend_of(self, address: Any) -> str | None:
        """The name of the proxy that listens on ``address``, a socket address; None if none.

        ``UNNAMED`` as long as that is not known.
        """
        if type(address) is not tuple or len(address) < 2:
            return None
        for proxy in self._ports.get(address[1], ()):
            if _same_host(proxy.host, address[0]):
                return proxy.name
        return UNNAMED if self._until and _monotonic() < self._until else None

    def backend_at(self, host: str, port: int) -> str | None:
        """As ``backend_of``, for a name that a driver in C resolves by itself.

        The name is resolved again, but only where a proxy has that port.
        """
        if port not in self._ports:
            return None
        found = self.backend_of((host, port))
        if found is not None:
            return found
        try:
            resolved = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            return None
        backends = (self.backend_of(address) for *_, address in resolved)
        return next((backend for backend in backends if backend is not None), None)

    def named(self, text: str) -> tuple[str, ...]:
        """The proxies whose name, as a word, or address is in ``text``: ``:5432``, in libpq's
        words ``port 5432``, in asyncio's ``('127.0.0.1', 5432)``.
        """
        found = {
            proxy.name: None
            for listed in snapshot(self._watched.values())
            for proxy in listed
            if re.search(rf"(?<![\w-]){re.escape(proxy.name)}(?![\w-])", text, re.IGNORECASE)
            or re.search(
                rf"(?::|['\"], |\bport[ =:]+[\"']?){proxy.port}(?!\d)", text, re.IGNORECASE
            )
        }
        return tuple(found)

    def of_socket(self, sock: Any) -> str:
        """The local address of ``sock``, which may be closed; empty if it leads to no proxy."""
        return next((each.local for each in reversed(self._all()) if each.sock() is sock), "")

    def written_by(self, who: Any) -> list[str]:
        """The local addresses of the connections on which ``who`` (``writer()``) wrote last."""
        return [each.local for each in self._all() if each.writer == who]

    def _all(self) -> list[Connection]:
        with self._lock:
            return [each for listed in self._by_local.values() for each in listed]

    def knows(self, local: str) -> bool:
        """Whether ``local`` (``host:port``) is or was the app's end of a connection to a proxy."""
        return local in self._by_local

    def connection(
        self, sock: Any, backend: str, born: float, opener: Request | None
    ) -> Connection:
        """A new one, that nobody can find before it is given to ``add``."""
        made = Connection(backend, sock, born, opener)
        made.opaque = backend in self._encrypted
        try:
            made.peer = address_text(sock.getpeername())
        except OSError:
            pass  # still connecting
        return made

    def opened(self, sock: Any, backend: str, born: float) -> None:
        """``sock`` was connected, or began to connect, to the proxy ``backend``."""
        known = self.table.get(sock.fileno())
        if known is not None and known.sock() is sock:
            return
        self.add(self.connection(sock, backend, born, current.get()))

    def adopt(self, sock: Any) -> Connection | None:
        """Look at a socket that was connected out of our sight, and remember the result."""
        fd = sock.fileno()
        if fd < 0:
            return None
        changes = self.changes
        try:
            backend = self.backend_of(sock.getpeername())
            connection = None if backend is None else self.connection(sock, backend, 0.0, None)
        except OSError:
            connection = None
        if connection is None:
            with self._lock:
                # Another thread may have been told of the proxies meanwhile.
                if changes == self.changes:
                    self.table[fd] = None
            return None
        count = written(sock)
        connection.sent = count or 0
        connection.opaque = connection.opaque or count is None
        self.add(connection)
        return connection if self.table.get(fd) is connection else None

    def add(self, connection: Connection) -> None:
        """From now on ``connection`` is the one of its descriptor."""
        with self._lock:
            self._drop(connection.fd)
            # The proxies may have become known since it was looked up, while it connected.
            if connection.backend == UNNAMED and not self._until and not self._name(connection):
                self.table[connection.fd] = None
                return
            self.table[connection.fd] = self._open[connection.fd] = connection
            self._by_local.setdefault(connection.local, []).append(connection)
        for told in list(self.on_connection):
            told(connection)

    def reborn(self, sock: Any) -> None:
        """A new socket object has a descriptor that is in the table."""
        with self._lock:
            fd = sock.fileno()
            connection = self.table.get(fd)
            if connection is not None and connection.sock() is not sock:
                if isinstance(known := connection.sock(), Handle) and known.fileno() == fd:
                    return  # borrowed for a moment, as uvloop does: it stays C's
                try:
                    # wrap_socket() and detach() give the descriptor to another object.
                    if address_text(sock.getsockname()) == connection.local:
                        sock.getpeername()
                        connection.sock = weakref.ref(sock)
                        return
                except (OSError, TypeError, IndexError, AttributeError):
                    pass
            self._drop(fd)

    def closed(self, fd: int, connection: Connection | None) -> None:
        """The socket of ``fd`` was closed; ``connection`` is what the table held before."""
        with self._lock:
            # Another thread may have been given the descriptor already.
            if self.table.get(fd, UNKNOWN) is connection:
                self._drop(fd)

    def _drop(self, fd: int) -> None:
        connection = self.table.pop(fd, None)
        if connection is None:
            return
        self._open.pop(fd, None)
        connection.died = time.monotonic()
        self._closed.append(connection)
        if len(self._closed) > MAX_HISTORY:
            self._forget(self._closed.popleft())

    def _forget(self, connection: Connection) -> None:
        """It can be found no more."""
        rest = [c for c in self._by_local.get(connection.local, ()) if c is not connection]
        if rest:
            self._by_local[connection.local] = rest
        else:
            self._by_local.pop(connection.local, None)

    def claim(
        self, connection: Connection, length: int, sock: Any, arrived: int | None = None
    ) -> Claim:
        """``length`` bytes are about to be written on ``connection`` by the running code.

        ``arrived``: what ``received`` says of ``sock`` now, where that is known.
        """
        request, finalizer = _current(), False
        if request is not None and request.over is not None:
            request = None  # a task that outlived the request in whose context it was made
        elif request is not None and collection.request is request:
            finalizer = collection.interrupts(request)
            request = None if finalizer else request
        claims = connection.claims
        if arrived is None:
            arrived = received(sock)
        if arrived == connection.answered and claims and claims[-1].request is not request:
            connection.shared = True
        connection.answered = arrived
        sure = finalizer or (not _doubtful() and (request is not None or not unsure()))
        claim = Claim(connection.sent, length, request, _monotonic(), sure)
        claim.arrived = arrived
        if claims and claims[-1].request is not request:
            harm.handed_on(connection, claim, arrived, sock, received)
        connection.sent += length
        claims.append(claim)
        if request is None:
            connection.writer = writer()
        else:
            count = request.sends.get(connection)
            if count is None:
                request.sends[connection] = [1, length]
            else:
                count[0] += 1
                count[1] += length
        trap = connection.trap
        if trap is not None:
            connection.trap = None
            trap(claim)
        return claim

    def correct(self, connection: Connection, claim: Claim, sent: int) -> None:
        """Only ``sent`` bytes of the claim left."""
        missing = claim.length - sent
        if not missing:
            return
        claim.length = sent
        connection.sent -= missing
        if claim.request is not None:
            count = claim.request.sends.get(connection)
            if count is not None:
                count[1] -= missing
        if connection.claims[-1] is not claim:
            connection.opaque = True  # two threads wrote at once: nobody knows the order

    def failed(self, connection: Connection, claim: Claim, sock: Any) -> None:
        """Writing the claim's bytes raised; the kernel knows how many had left by then."""
        count = written(sock)
        if count is None or connection.opaque:
            connection.opaque = True
            self.correct(connection, claim, 0)
        else:
            self.correct(connection, claim, min(max(count - claim.offset, 0), claim.length))

    def refused(self, backend: str, since: float) -> None:
        """Connecting to the proxy ``backend`` failed; it was tried since ``since``."""
        request = running()
        if request is None or backend == UNNAMED:
            return
        if request.refused is None:
            request.refused = {}
        request.refused[backend] = request.refused.get(backend, 0) + 1
        failed = FailedConnect(since, time.monotonic(), backend, request)
        self.refusals.append(failed)
        for told in list(self.on_refusal):
            told(failed)

    def find(self, client: str, listen: str, at: float) -> Connection | None:
        """The connection from ``client`` to ``listen`` (``host:port``) that lived at ``at``."""
        port = listen.rpartition(":")[2]
        with self._lock:
            candidates = list(self._by_local.get(client, ()))
        for connection in reversed(candidates):
            peer = connection.peer.rpartition(":")[2]
            if connection.born <= at and (not port or not peer or peer == port):
                sock = connection.sock()
                if connection.died is None and sock is not None:
                    connection.verify(sock)
                return connection
        return None

    def unowned(self) -> Iterator[tuple[Handle, str, str]]:
        """The sockets of this process that lead to a proxy and of which nothing is known here.

        Each with its local address and the proxy's name.
        """
        for handle, peer in connected():
            backend = self.backend_of(peer)
            if backend is None:
                continue
            local = address_text(handle.getsockname())
            known = self.table.get(handle.fileno())
            if known is None or known.local != local:
                self._unowned[local] = None
                yield handle, local, backend

    def had(self, local: str) -> bool:
        """Whether a socket that ``unowned`` gave had this local address; it may be closed."""
        return local in self._unowned

    def owns(self, local: str) -> bool:
        """Whether an open connection with this local address is known here."""
        return any(each.died is None for each in tuple(self._by_local.get(local, ())))

    def prune(self) -> None:
        """Let go of connections whose socket was closed by the garbage collector."""
        with self._lock:
            if self._until and _monotonic() >= self._until:
                self._settle()
            for fd, connection in snapshot(self._open.items()):
                sock = connection.sock()
                if sock is None or sock.fileno() != fd:
                    self._drop(fd)

    def __len__(self) -> int:
        """The number of open connections to proxied backends."""
        if self._until:
            return sum(each.backend != UNNAMED for each in snapshot(self._open.values()))
        return len(self._open)

    def census(self, collect: bool = True) -> tuple[OpenConnection, ...]:
        """Every open connection to a proxied backend, verified to be open still, those that
        were opened out of our sight as well.

        An exception's frames keep a socket open that nobody can reach any more, and that is no
        leak. Only a collection of garbage tells the two apart, which stalls the whole process:
        without ``collect`` an idle connection is ``unsure``.
        """
        if collect:
            gc.collect()
        self.prune()
        rows = []
        for connection in snapshot(self._open.values()):
            claims = connection.history()
            user = claims[-1].request if claims else None
            rows.append(
                OpenConnection(
                    backend=connection.backend,
                    local=connection.local,
                    opener=connection.opener.id if connection.opener else None,
                    user=user.id if user else None,
                    in_use=(in_use := user is not None and user.over is None),
                    unsure=not (collect or in_use),
                )
            )
        known = {row.local for row in rows}
        for handle, peer in connected():
            backend = self.backend_of(peer)
            try:
                local = address_text(handle.getsockname()) if backend is not None else ""
            except OSError:
                continue  # closed meanwhile
            if backend is not None and local not in known:
                rows.append(OpenConnection(backend, local, None, None))
        return tuple(rows)

    def forget(self) -> None:
        """Start anew in a forked child: what the parent counts is the parent's."""
        self._lock = native.rlock()
        containers = (
            self.table,
            self._open,
            self._by_local,
            self._closed,
            self.refusals,
            self._unowned,
        )
        for container in containers:
            container.clear()


def _same_host(proxied: str, host: Any) -> bool:
    if not isinstance(host, str):
        return False
    host = host.removeprefix("::ffff:")
    if proxied == host or proxied in ("0.0.0.0", "::", ""):
        return True
    loopback = ("127.0.0.1", "::1", "localhost")
    return proxied in loopback and host in loopback and "localhost" in (proxied, host)
