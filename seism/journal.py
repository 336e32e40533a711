"""The journal: what happened, in order, as JSON lines.

The first record is the manifest. Each line is one object: ``seq`` (1, 2, ... without a
gap), ``t`` (the sidecar's monotonic seconds when it was journalled), for a worker's
record ``worker`` and ``n`` (its number in that worker's stream), then ``kind`` and the
record's own fields. Records of the wire are those of the contract; the others are below.

Durability: a line reaches the kernel within one pass of the writing thread, so a killed
sidecar loses nothing that was written; ``fsync`` follows the manifest, every phase and
the close, so a lost machine loses one phase at most.

What cannot be written is lost, counted and logged, and leaves a gap in ``seq``; a line that
was written in part is cut off again. A reader leaves out a torn last line, and says of every
other line that it cannot read, and of every gap, how many records are missing there.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import queue
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from seism.errors import ConfigurationError, Incomplete, Unavailable
from seism_middleware import contract, wire

SCHEMA = 2
TOPICS: dict[str, frozenset[str]] = {
    "perturbations": frozenset({"perturbation.began", "perturbation.ended"}),
    "observations": frozenset({"request.ended"}),
    "attributions": frozenset({"attribution"}),
    "opinions": frozenset({"opinion"}),
    "harms": frozenset({"harm"}),
    "changes": frozenset({"toxic.changed"}),
    "chaos": frozenset({"chaos.began", "chaos.judged", "chaos.stopped"}),
}
"""The kinds of records that each topic has."""
DIED, OUT_OF_MEMORY, BROKEN = "died", "out of memory", "stream broken"
"""How a worker can leave without a goodbye."""
MAX_QUEUED = 32 * 1024 * 1024
"""Bytes of records waiting for the disk; beyond that they are counted as lost, never silently."""
BEHIND = MAX_QUEUED // 4
"""Bytes of them from which on whoever can wait should."""
COST = 500
"""Bytes that a record takes beside those of a line that a worker has sent."""
BATCH = 1024 * 1024
"""Bytes that are encoded for one write."""
OPEN_SECONDS = 10.0
"""How long the disk may take for the manifest."""
STUCK_SECONDS = 1.5
"""How long, in the end, one write may take."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What this run is: everything that is needed to read or repeat it."""

    kind: ClassVar[str] = "manifest"
    schema: int
    version: str
    seed: int
    clock: str
    """The clock domain of every time in the journal."""
    started: str
    """Wall clock, ISO 8601, for people."""
    plan: tuple[dict[str, Any], ...] = ()
    rules: dict[str, Any] | None = None
    durability: str = "write per batch; fsync at manifest, phases and close"


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan from now on, where it is not the file's: a replay's, or a sweep's."""

    kind: ClassVar[str] = "plan"
    steps: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Phase:
    """An experiment enters a phase; requests that begin from now on belong to it.

    ``phase``: ``warmup``, ``steady``, ``during``, ``after``, ``control`` (the load once more
    without perturbations), ``end``. ``step`` is the index of the planned perturbation, or
    None; a ``warmup`` with one says that the app was restarted before it. ``mixed``: a
    stretch of one load over which perturbations come and go.
    """

    kind: ClassVar[str] = "phase"
    phase: str
    at: float
    step: int | None = None
    name: str = ""
    active: tuple[int, ...] = ()
    """In a ``mixed`` stretch: the indices of the planned perturbations that last in it."""
    flowing: bool = False
    """The load went on while it began: what ran into it from before may have been perturbed."""


@dataclass(frozen=True, slots=True)
class LoadDone:
    """What the load generator saw in one segment, as its own check on the observations."""

    kind: ClassVar[str] = "load"
    segment: str
    requests: int
    routes: dict[str, Any]
    actions: dict[str, Any] | None = None
    """Of each route whose requests are actions: how many were sent, acknowledged, done
    twice or more (``twice``), acknowledged and never done (``lost``), not known (``unknown``)."""
    whole: bool = False
    """These are the requests of all phases so far, not of one."""
    logins: dict[str, Any] | None = None
    """Of workers that logged in ``again``: the answer for which they did -> how often; and the
    answers to logins that ``failed``."""


COMPLETE, CUT, NOTHING = "complete", "cut", "nothing"
REFUSED, TIMED_OUT, STALE = "refused", "timed out", "stale"
LEFT = "left"
"""How a request ended for its client: with a whole response; with a part of one; with none, after
the connection was made; without a connection; its client gave up. ``stale``: with none, over a
kept connection whose last response was a 500; unless a worker began it, the server was closing
that connection, and it never reached the app. ``left``: its client was to leave, see the toxic
``impatient``."""
OUTCOMES = (COMPLETE, CUT, NOTHING, REFUSED, TIMED_OUT, STALE, LEFT)


@dataclass(frozen=True, slots=True)
class ClientRequest:
    """One request of the load, as its client saw it."""

    kind: ClassVar[str] = "client"
    request: str
    """The id that it was sent with (``contract.CLIENT_HEADER``)."""
    route: str
    """``METHOD /path?query``, as the load sends it."""
    at: float
    """When it was sent, or was due; on the journal's clock."""
    duration: float
    """Seconds."""
    outcome: str
    status: int | None = None
    """Of the response, as far as it came."""
    target: str = ""
    """Where a redirect leads, without values: ``/items/{id}?next``."""
    broken: str = ""
    """As what a whole body does not parse: ``JSON`` or ``HTML``."""
    unexpected: str = ""
    """What of the answer is not as ``[load.route.expect]`` says, without values."""
    content: str = ""
    """The id of the content of a 2xx: that of equal answers to the same request is the same."""
    parts: dict[str, str] | None = None
    """What that content is made of, where it is told for the first time: JSON path, or line ->
    kind and salted digest."""


@dataclass(frozen=True, slots=True)
class ChangingExchange:
    """An exchange that changes something, once the backend has answered or the connection is gone.

    It is written for proxies that know their backend's protocol.
    """

    kind: ClassVar[str] = "exchange"
    proxy: str
    client: str
    """``host:port`` of the client's end of the connection."""
    at: float
    """When the proxy had the first bytes of the request."""
    what: str
    """In the protocol's own word, such as ``LPUSH``."""
    effect: str
    """``adds``, ``sets``, ``changes``, ``counts``, ``commits``, as ``protocols.base`` has them."""
    done: bool
    """Whether the backend has answered, and not with an error."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """The run stopped before its plan was done, as one of its limits says."""

    kind: ClassVar[str] = "stopped"
    at: float
    why: str


@dataclass(frozen=True, slots=True)
class AppEnded:
    """The app, or a worker of it, ended by itself, or did not come back after a perturbation.

    The runner starts them again.
    """

    kind: ClassVar[str] = "app.ended"
    at: float
    step: int
    """The index of the planned perturbation in whose time or aftershock it happened."""
    code: int | None = None
    """Its exit code, or minus the signal that ended it; None: it runs, and answers nothing well."""
    said: tuple[str, ...] = ()
    """The last lines of its log."""
    process: str = ""
    """The name of the ``[[worker]]`` that ended; empty: the app itself."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Why nothing could be judged, or something never fired; see ``seism.experiment.doctor``."""

    kind: ClassVar[str] = "diagnosis"
    at: float
    findings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ToxicChanged:
    """What perturbs a backend is another one from now on.

    ``change``: ``added``, ``changed``, ``removed`` for a toxic; ``down``, ``up`` for the proxy.
    ``by``: ``file`` (the sidecar's, at its start), ``api``, the name of the lease under which
    it was called, or ``chaos``.
    """

    kind: ClassVar[str] = "toxic.changed"
    proxy: str
    change: str
    at: float
    by: str
    toxic: dict[str, Any] | None = None
    """The toxic as the API shows it."""


@dataclass(frozen=True, slots=True)
class LeaseEnded:
    """A runner's lease is over. ``why``: ``released`` or ``expired``; ``undone`` are the toxics
    and outages, as ``name on proxy``, that were still there.
    """

    kind: ClassVar[str] = "lease.ended"
    lease: str
    at: float
    why: str
    undone: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reached:
    """What each proxy had seen when a phase began, or a census was taken."""

    kind: ClassVar[str] = "reached"
    at: float
    proxies: dict[str, dict[str, int]]
    """Proxy -> ``connections`` accepted and ``bytes`` from clients so far, those that are
    enabled only."""


@dataclass(frozen=True, slots=True)
class Consumer:
    """An open connection whose client waits for the backend to say something."""

    proxy: str
    client: str
    """``host:port`` of its client's end."""
    what: str
    """``LISTEN orders``, ``SUBSCRIBE``, or the command that blocks, such as ``BLPOP``."""
    subscribed: bool
    """It hears without asking."""
    waits: bool = True
    """The command has not been answered yet."""
    since: float = 0.0
    """When the last such command began."""
    deaf: bool = False
    """A perturbation that is over has left it dead, and its client has not given it up."""


@dataclass(frozen=True, slots=True)
class Consumers:
    """The consumers of all proxies when a census was taken."""

    kind: ClassVar[str] = "consumers"
    at: float
    consumers: tuple[Consumer, ...] = ()


INTERRUPTED = "it was interrupted"
"""Why a run stopped that somebody has ended: no limit, and nothing against the app."""


@dataclass(frozen=True, slots=True)
class ChaosBegan:
    """A perturbation of standing chaos begins."""

    kind: ClassVar[str] = "chaos.began"
    name: str
    backend: str
    at: float
    seconds: float
    """How long it is to last."""


@dataclass(frozen=True, slots=True)
class ChaosJudged:
    """The verdict on one perturbation of standing chaos, by the requests that it hit."""

    kind: ClassVar[str] = "chaos.judged"
    name: str
    backend: str
    at: float
    """When it began."""
    colour: str
    hit: int
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ChaosStopped:
    """Standing chaos has undone what there was, and perturbs nothing any more."""

    kind: ClassVar[str] = "chaos.stopped"
    at: float
    why: str


@dataclass(frozen=True, slots=True)
class WorkerLeft:
    """A worker's stream ended; ``unanswered`` requests had begun and not ended."""

    kind: ClassVar[str] = "worker.left"
    at: float
    orderly: bool
    unanswered: int = 0
    reason: str = ""
    """Where it was not orderly: ``died``, ``out of memory`` or ``stream broken``."""


@dataclass(frozen=True, slots=True)
class Missing:
    """Records of a worker that never arrived, by their numbers or by its own count."""

    kind: ClassVar[str] = "missing"
    count: int


KINDS: dict[str, type[Any]] = contract.KINDS | {
    record.kind: record
    for record in (
        Manifest,
        Plan,
        Phase,
        LoadDone,
        ClientRequest,
        ChangingExchange,
        Stopped,
        AppEnded,
        Diagnosis,
        Reached,
        Consumers,
        ToxicChanged,
        LeaseEnded,
        ChaosBegan,
        ChaosJudged,
        ChaosStopped,
        WorkerLeft,
        Missing,
    )
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a journal."""

    seq: int
    at: float
    worker: str
    n: int | None
    record: Any


class Journal:
    """Appends records from one thread; a thread of its own encodes and writes them.

    ``write`` costs a queue's put and never waits for the disk.
    """

    def __init__(self, path: Path, manifest: Manifest, now: Callable[[], float]) -> None:
        """Raises Unavailable if ``path`` cannot be written."""
        self.path = path
        self.failure: OSError | None = None
        """The first one of the disk; the journal goes on where that has room again."""
        self._now = now
        self._seq = 0
        self._end = 0
        """Bytes of whole lines in the file."""
        # Each is changed by one thread only.
        self._refused = self._unwritten = self._handled = 0
        self._queued = self._dequeued = 0
        self._asked: float | None = None
        """Since when the disk has not answered; None: it is not asked."""
        self._left = 0
        """Records that the disk had not taken when the journal was closed."""
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Unavailable(f"journal {path}: {error.strerror}") from None
        # A pipe or a terminal may be a journal too; neither can be synced.
        self._durable = stat.S_ISREG(os.fstat(self._file).st_mode)
        if self._durable:
            self._empty()
        self._thread = threading.Thread(target=self._run, name="seism-journal", daemon=True)
        self._thread.start()
        self.write(manifest)
        if not self.sync().wait(OPEN_SECONDS):
            raise Unavailable(f"journal {path}: not written within {OPEN_SECONDS:g} s")
        if self.failure is not None:
            self.close()

    def _empty(self) -> None:
        """Take the file for ourselves, then drop what an earlier process wrote."""
        try:
            hold(self._file)
            os.ftruncate(self._file, 0)
        except Held as holder:
            os.close(self._file)
            raise Unavailable(
                f"journal {self.path}: {holder} writes it; choose another file"
            ) from None
        except OSError as error:
            os.close(self._file)
            raise Unavailable(f"journal {self.path}: {error.strerror}") from None

    @property
    def lost(self) -> int:
        """Records that were not written."""
        return self._refused + self._unwritten + self._left

    @property
    def behind(self) -> bool:
        """Whether more waits for the disk than it should."""
        return self._queued - self._dequeued > BEHIND

    def write(
        self, record: Any, worker: str = "", number: int | None = None, size: int = 0
    ) -> None:
        """Append one record; ``worker`` and ``number`` are given for a worker's own.

        ``size``: bytes of the line, or body, that it was made of.
        """
        self._seq += 1
        cost = COST + size
        if self._queued - self._dequeued + cost > MAX_QUEUED:
            if not self._refused:
                log.error("journal %s: the disk is too slow, records are lost", self.path)
            self._refused += 1
            return
        self._queued += cost
        self._queue.put(_Item(self._seq, self._now(), worker, number, record, cost))

    def sync(self) -> threading.Event:
        """Everything written so far is on the disk once the returned event is set."""
        done = threading.Event()
        self._queue.put(done)
        return done

    def close(self) -> None:
        """Write what is queued, fsync, close. Raises Incomplete if records are missing.

        A disk that takes longer than ``STUCK_SECONDS`` for one write is not waited for.
        """
        self._queue.put(None)
        began = time.monotonic()
        while self._thread.is_alive():
            self._thread.join(0.05)
            asked = self._asked
            if asked is not None and time.monotonic() - max(asked, began) > STUCK_SECONDS:
                self._left = self._seq - self._refused - self._handled
                break
        self.check()

    def check(self) -> None:
        """Raises Incomplete if the disk has refused, or records are missing."""
        if self.failure is not None or self.lost:
            why = "the disk is too slow" if self.failure is None else self.failure.strerror
            raise Incomplete(f"journal {self.path}: {why}; records lost: {self.lost}")

    def _run(self) -> None:
        open_ = True
        while open_:
            items = self._batch()
            open_ = None not in items
            records = [item for item in items if isinstance(item, _Item)]
            waiting = [item for item in items if isinstance(item, threading.Event)]
            lines = [_line(item) for item in records]
            self._asked = time.monotonic()
            try:
                self._append(lines)
                if self._durable and (waiting or not open_):
                    os.fsync(self._file)
            except OSError as error:
                if self.failure is None:
                    self.failure = error
                    log.error("journal %s: %s; records are lost", self.path, error.strerror)
            self._asked = None
            self._dequeued += sum(item.cost for item in records)
            for event in waiting:
                event.set()
        os.close(self._file)

    def _batch(self) -> list[Any]:
        items = [self._queue.get()]
        cost = 0
        while not self._queue.empty() and cost < BATCH:
            items.append(self._queue.get())
            cost += items[-1].cost if isinstance(items[-1], _Item) else 0
        return items

    def _append(self, lines: list[bytes]) -> None:
        """Write ``lines``; of what does not fit, no part stays."""
        data = b"".join(lines)
        written = 0
        try:
            while written < len(data):
                written += os.write(self._file, memoryview(data)[written:])
        except OSError:
            whole = data.rfind(b"\n", 0, written) + 1
            self._unwritten += len(lines) - data.count(b"\n", 0, whole)
            self._end += whole
            if self._durable:
                os.ftruncate(self._file, self._end)
                os.lseek(self._file, self._end, os.SEEK_SET)
            raise
        finally:
            self._handled += len(lines)
        self._end += written


class Held(Exception):
    """Another process holds it; says which, as far as that can be known."""


def hold(fd: int) -> None:
    """Hold the file or folder of ``fd`` until it is closed. Raises Held, and OSError."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = _holder(fd)
        raise Held(f"process {pid}" if pid else "another process") from None


def set_aside(path: Path) -> Path | None:
    """Rename an earlier journal by the time of its last line, so that a new one can begin.

    None if there is no such file, it is empty or a pipe, or another process writes it.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or not found.st_size:
            return None
        hold(fd)
        stem = path.stem + time.strftime("-%Y%m%d-%H%M%S", time.localtime(found.st_mtime))
        kept, number = path.with_stem(stem), 1
        while kept.exists():
            number += 1
            kept = path.with_stem(f"{stem}-{number}")
        return path.rename(kept)
    except (OSError, Held):
        return None
    finally:
        os.close(fd)


def _holder(fd: int) -> int:
    """The process that holds it, 0 if that is not known, as in another container."""
    inode = os.fstat(fd).st_ino
    try:
        with open("/proc/locks", encoding="ascii") as file:
            for line in file:
                words = line.split()
                if words[1] == "FLOCK" and words[5].rpartition(":")[2] == str(inode):
                    return max(0, int(words[4]))
    except (OSError, ValueError, IndexError):
        pass
    return 0


@dataclass(frozen=True, slots=True)
class _Item:
    """One record that waits for the disk."""

    seq: int
    at: float
    worker: str
    number: int | None
    record: Any
    cost: int


def _line(item: _Item) -> bytes:
    values: dict[str, Any] = {"seq": item.seq, "t": round(item.at, 6)}
    if item.worker:
        values["worker"] = item.worker
    if item.number is not None:
        values["n"] = item.number
    values.update(wire.to_dict(item.record))
    return json.dumps(values, separators=(",", ":"), default=str).encode() + b"\n"


def read(path: Path) -> Iterator[Entry]:
    """The entries of a journal; unknown kinds are left out.

    Where records are missing, by a gap in ``seq`` or because a line cannot be read, is a
    ``Missing`` without a worker. Raises ConfigurationError if the file is not a journal.
    """
    try:
        with path.open("rb") as file:
            yield from parse(file, str(path))
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from None


class Follower:
    """A journal that is still written to: each line is parsed once, however often one looks."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._reader = _Reader(str(path))
        self._entries: list[Entry] = []

    def entries(self) -> Sequence[Entry]:
        """All entries so far, without a line that is only half written.

        Raises ConfigurationError as ``read`` does.
        """
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except OSError as error:
            raise ConfigurationError(f"{self._path}: {error.strerror}") from None
        whole = data[: data.rfind(b"\n") + 1]
        for line in whole.splitlines(keepends=True):
            self._entries.extend(self._reader.take(line))
        self._offset += len(whole)
        return self._entries


def parse(lines: Iterable[bytes], where: str = "journal") -> Iterator[Entry]:
    """The same, from lines; see ``read``."""
    reader = _Reader(where)
    for line in lines:
        yield from reader.take(line)
    yield from reader.end()


class _Reader:
    """Makes entries of lines, and says where records are missing."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._lines = 0
        self._last = 0
        self._at = 0.0
        self._unreadable = 0

    def take(self, line: bytes) -> Iterator[Entry]:
        """What the next line says. Raises ConfigurationError if it cannot be a journal's first."""
        self._lines += 1
        try:
            seq, self._at, entry = _entry(line)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            if self._lines == 1:
                raise ConfigurationError(
                    f"{self._where}:1: not a journal record: {error}"
                ) from None
            # One without an end was interrupted by a crash, and is the last one.
            self._unreadable += line.endswith(b"\n")
            return
        if self._lines == 1:
            _check_manifest(entry, self._where)
        missing = max(seq - self._last - 1, self._unreadable)
        if missing:
            yield Entry(seq - 1, self._at, "", None, Missing(missing))
        self._last, self._unreadable = max(self._last, seq), 0
        if entry is not None:
            yield entry

    def end(self) -> Iterator[Entry]:
        """No more will come."""
        if self._unreadable:
            seq = self._last + self._unreadable
            yield Entry(seq, self._at, "", None, Missing(self._unreadable))


def _entry(line: bytes) -> tuple[int, float, Entry | None]:
    """``seq``, ``t`` and the entry of one line, None for an unknown kind."""
    values = json.loads(line)
    record = wire.from_dict(values, KINDS)
    seq, at, worker, number = values["seq"], values["t"], values.get("worker", ""), values.get("n")
    if type(seq) is not int or type(at) not in (int, float) or not at - at == 0:
        raise ValueError("seq and t must be numbers")
    if type(worker) is not str or type(number) not in (int, type(None)):
        raise ValueError("worker must be a string, n a whole number")
    return seq, at, None if record is None else Entry(seq, at, worker, number, record)


def _check_manifest(entry: Entry | None, where: str) -> None:
    if entry is None or not isinstance(entry.record, Manifest):
        raise ConfigurationError(f"{where}: a journal begins with its manifest")
    if entry.record.schema != SCHEMA:
        raise ConfigurationError(
            f"{where}: unsupported journal format {entry.record.schema} (supported: {SCHEMA}); "
            f"Seism {entry.record.version} wrote it"
        )
