"""What the app's process and the sidecar say to each other: the records.

They are also what the journal holds: there is no second definition of them. Times are seconds of
``time.monotonic()`` of the process that wrote the record; the two ``Clock`` records at the start
tell whether both sides share that clock. ``seism_middleware.wire`` says how records travel.

Stdlib only: this module is imported by the app's process and by the sidecar.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, ClassVar

SIDECAR_VARIABLE = "SEISM_SIDECAR"
"""Environment variable: ``host:port`` of the sidecar's control address."""
TOKEN_VARIABLE = "SEISM_TOKEN"
"""Environment variable: the token that the sidecar wants, if it wants one."""
REDIRECT_VARIABLE = "SEISM_REDIRECT"
"""Environment variable: a JSON object, ``host:port`` of each backend -> of its proxy."""
INJECT_VARIABLE = "SEISM_INJECT"
"""Environment variable: has ``seism_middleware.inject`` observe the app, if its folder is found."""
WATCH_VARIABLE = "SEISM_WATCH"
"""Environment variable: the file to which an injected app tells its connects and routes."""

ENVIRON_REQUEST = "seism.request"
"""WSGI environ and ASGI scope key: the id of the request that is being observed."""
ENVIRON_ROUTE = "seism.route"
"""WSGI environ and ASGI scope key: a route pattern set by the app or an adapter."""

CLIENT_HEADER = "Seism-Request"
"""Request header: the id that a load generator gave the request."""

IN_TEST = " in "
"""Between a path and the test that requests it, in the route of a test suite's request."""

PERTURBATION_HEADER = "Seism-Perturbation"
"""Response header, by option: ids of perturbations that hit the request, with commas."""

TRACEPARENT = r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
"""A regular expression for the value of a ``traceparent`` (W3C Trace Context, 3.2.2), whose first
group is the trace's id. Versions above 00 may have more behind it."""

UPSTREAM = "upstream"
DOWNSTREAM = "downstream"

EVIDENCE = TRACE, LEDGER, DRIVER, KERNEL, CONNECT, OVERLAP = (
    "trace", "ledger", "driver", "kernel", "connect", "overlap"
)  # fmt: skip
"""How an attribution is known, strongest first; ``overlap`` is never exact."""
ALONE = "alone"
"""Known by the sidecar's proxies: it was the only request in flight, and nobody else talks to that
backend."""

JOB = "JOB"
"""The method of a background job's execution. Its status is the one that a response of the same
meaning would have: 200 done, 503 to be tried again, 500 failed for good."""

BODY_COMPLETE = "complete"
BODY_TRUNCATED = "truncated"
BODY_NONE = "none"
"""How a response's body ended: ``none`` means that no response was made at all."""


@dataclass(frozen=True, slots=True)
class Clock:
    """Where a process's times come from.

    ``domain`` is equal for processes whose monotonic clocks are the same one
    (same boot, same time namespace); ``now`` is a reading of that clock.
    """

    domain: str
    now: float


@dataclass(frozen=True, slots=True)
class Hello:
    """Worker to sidecar, first line."""

    kind: ClassVar[str] = "hello"
    worker: str
    pid: int
    clock: Clock
    interface: str
    """``wsgi``, ``asgi``, or ``http`` for the proxy in front of an app without middleware."""
    patched: tuple[str, ...] = ()
    """Dotted names of everything patched in the app's process, possibly nothing."""
    blind: tuple[str, ...] = ()
    """What this worker cannot see into, for example ``uvloop``."""
    key: str = ""
    """Chosen by the worker at random: who has it goes on with its numbers after a reconnect,
    and nobody else. It is never journalled or shown."""
    version: str = ""
    """Of ``seism-middleware``."""


@dataclass(frozen=True, slots=True)
class Proxied:
    """One back proxy, as the worker needs to know it."""

    name: str
    host: str
    port: int
    tls: bool = False
    """Clients speak TLS to it, so that it counts other bytes than leave the app."""


@dataclass(frozen=True, slots=True)
class Welcome:
    """Sidecar to worker, first line."""

    kind: ClassVar[str] = "welcome"
    clock: Clock
    proxies: tuple[Proxied, ...] = ()
    ring: str = ""
    """Path of a file that a worker on this host may map: its records are as safe there as on
    the stream. The n-th byte of its lines since then is at ``RING_HEAD + n % size``; it
    writes the line first and the count of all bytes after it. When the stream ends without
    a goodbye, the sidecar takes the records with numbers that it has not seen from there."""
    ring_key: str = ""
    """What the file holds if it is the right one; empty without one."""
    sidecar: str = ""
    """Whose ids the perturbations have: another sidecar begins to count anew."""
    more: bool = False
    """The list of proxies continues in the ``Proxies`` that follow."""


@dataclass(frozen=True, slots=True)
class Proxies:
    """Sidecar to worker: the whole list of proxies, again, after it changed."""

    kind: ClassVar[str] = "proxies"
    proxies: tuple[Proxied, ...] = ()
    more: bool = False
    """The list continues in the next ``Proxies``: it does not fit one line."""


@dataclass(frozen=True, slots=True)
class RequestBegun:
    """Worker to sidecar, sent before the app sees the request."""

    kind: ClassVar[str] = "request.begun"
    request: str
    method: str
    at: float
    route: str = ""
    """As far as it is known before the app runs: the path without what looks like an id."""
    client: str = ""
    """The id that its client gave it in ``CLIENT_HEADER``, if it did."""


LIBRARIES = ("site-packages", "dist-packages")
ELSEWHERE = "..."
"""How the path of a frame begins that is not in the app's folder."""


def is_own_frame(frame: str) -> bool:
    """Whether ``app/views.py:41 checkout`` is of the app's own code: of a file in its folder."""
    return not frame.startswith((*LIBRARIES, ELSEWHERE, "<"))


@dataclass(frozen=True, slots=True)
class LoggedError:
    """One log record of level ERROR or above made while the request ran.

    ``message`` is the unformatted template, and only where the record was made with
    arguments: a message that was formatted by the app may hold values.
    """

    logger: str
    where: str
    message: str = ""
    exception: str = ""
    backends: tuple[str, ...] = ()
    """The proxies whose name or address a reader of the record would find in it."""
    credentials: bool = False
    """Whether the record held what looks like a password or a token."""
    frames: tuple[str, ...] = ()
    """Of the exception, or else of the call that logged: ``app/views.py:41 checkout`` each,
    outermost first."""


@dataclass(frozen=True, slots=True)
class SendCount:
    """How often and how much one request sent over one backend connection."""

    backend: str
    local: str
    """``host:port`` of the app's end."""
    sends: int
    sent: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class Refused:
    """How often one request failed to connect to a backend."""

    backend: str
    times: int


@dataclass(frozen=True, slots=True)
class RequestEnded:
    """Worker to sidecar: the observation of one request.

    It leaves the process before the last byte of the response does. Should
    something still go wrong after it (``close()`` raised, the client left), it is
    sent again under the same id, and the last one counts. The sidecar itself writes
    one, with ``body`` = ``none`` and no status, for a request whose worker died.
    """

    kind: ClassVar[str] = "request.ended"
    request: str
    method: str
    route: str
    """Pattern, such as ``/items/{id}``, without the method."""
    began: float
    duration: float
    """Seconds."""
    status: int | None
    body: str
    retry_after: bool = False
    """Whether the response had a Retry-After header."""
    exception: str = ""
    """Dotted name of the type of an exception that left the app."""
    frames: tuple[str, ...] = ()
    """Where it came from: ``app/views.py:41 checkout`` each, outermost first."""
    errors: tuple[LoggedError, ...] = ()
    sends: tuple[SendCount, ...] = ()
    cpu: float | None = None
    """CPU seconds of the thread that ran the app, where one thread ran all of it. Sampled:
    None for the requests between two samples."""
    rss: int | None = None
    """Bytes, of the whole worker, sampled."""
    connections: int | None = None
    """Open connections of this worker to proxied backends."""
    refused: tuple[Refused, ...] = ()
    client: str = ""
    """As in ``RequestBegun``."""


@dataclass(frozen=True, slots=True)
class PerturbedExchange:
    """One request of a backend's protocol and its reply, without any value of them."""

    number: int
    """Counted from 1 per connection; 0: what the backend says first, without a request."""
    kind: str
    """What was asked, in the protocol's own word, such as ``GET``."""
    phase: str = ""
    summary: str = ""
    """May be shown: no values, keys or credentials."""
    trace: str = ""
    """The W3C trace id (32 hex digits) that the request carried, if it did."""


@dataclass(frozen=True, slots=True)
class PerturbationBegan:
    """Sidecar to worker: a toxic takes effect.

    ``offset`` counts the bytes that the proxy had received from the client on this
    connection before the first one that is affected; for a perturbed reply (stream
    ``downstream``) it is all that the client had sent when the reply was perturbed,
    and ``since`` is where the bytes begin that had not been answered by then.
    A proxy that is down is a perturbation without a connection.
    """

    kind: ClassVar[str] = "perturbation.began"
    perturbation: str
    proxy: str
    toxic: str
    """The toxic's name on that proxy."""
    type: str
    """The toxic's type, such as ``latency``; ``down`` for a disabled proxy."""
    at: float
    stream: str = ""
    client: str = ""
    """``host:port`` of the client's end of the connection."""
    listen: str = ""
    """``host:port`` of the proxy's end of the connection."""
    source: str = ""
    """``host:port`` from which the proxy talks to the backend for this connection."""
    offset: int | None = None
    since: int | None = None
    connection: int | None = None
    """Which connection of its proxy it is, counted from 1. With the seed and the names of
    proxy and toxic it names the random stream of every draw."""
    chance: float | None = None
    """What was drawn for this connection, or this exchange, against a toxicity below 1."""
    exchange: PerturbedExchange | None = None
    """The one exchange that is perturbed, where the toxic's scope is that. The bytes are those
    of its request then, and the stream is ``upstream``, whatever becomes of the reply."""
    trace: str = ""
    """The id of the trace that the affected bytes name, if they do (W3C ``traceparent``)."""
    hold: float = 0.0
    """Seconds for which the proxy waits at most for a ``Looked`` of whoever asked for it, before
    it lets the toxic act."""


@dataclass(frozen=True, slots=True)
class PerturbationEnded:
    """Sidecar to worker: the effect is over.

    The affected bytes of the client are ``[began.offset, offset)``. ``outcome``:
    ``passed`` (the bytes arrived after all), ``closed``, ``reset``, ``lost`` (the
    bytes never arrived), ``changed`` (other bytes arrived than were sent), ``removed``
    (the toxic went away), ``enabled`` (down).
    """

    kind: ClassVar[str] = "perturbation.ended"
    perturbation: str
    at: float
    outcome: str
    offset: int | None = None
    draws: int = 0
    """How often the toxic has drawn on this connection so far."""
    drawn: tuple[float, ...] = ()
    """The last of these draws, at most 8, each from [0, 1)."""
    request_size: int | None = None
    """Bytes of the exchange's request, where the scope was one exchange."""
    reply_size: int | None = None
    """Bytes that the client got for it."""
    replied: float | None = None
    """When the backend's own reply to it began; None if there was none."""
    held: float = 0.0
    """Seconds for which the proxy has waited for a ``Looked``; a delay that is injected anyway
    runs meanwhile."""
    asked: tuple[int, ...] = ()
    answers: tuple[int, ...] = ()
    """What the effect shows of the order of questions and replies, in pairs: the client's bytes
    from ``asked[n]`` on are answered at byte ``answers[n]`` of the replies or later, for the
    backend had not been given them before. Empty where what arrives is not what was sent."""


@dataclass(frozen=True, slots=True)
class Attribution:
    """Worker to sidecar: this perturbation is attributed to this request.

    ``role`` is ``hit`` (its own exchange was perturbed) or ``harmed`` (it was the
    first user of a connection that had been broken before). ``request`` is None
    where the bytes are known to belong to no request (a pool's own worker, say).
    """

    kind: ClassVar[str] = "attribution"
    perturbation: str
    request: str | None
    evidence: str
    exact: bool
    role: str = "hit"
    how: str = ""
    """``bytes`` or ``last`` for the ledger."""
    send: int = 0
    """Which of the request's sends on that connection was perturbed, from 1; 0: not known."""


@dataclass(frozen=True, slots=True)
class Harm:
    """Worker to sidecar: a connection went wrong between two requests.

    ``what``: ``abandoned`` (``request`` ended, and went away, before it had read the reply
    that ``perturbation`` held up; the connection stayed open), ``crosstalk`` (``request``
    read a reply to an earlier question, the one of ``other``) or ``sentinel`` (a value that
    the app had planted for ``other`` came back to ``request``). ``exact`` only where it
    cannot be otherwise.
    """

    kind: ClassVar[str] = "harm"
    what: str
    request: str
    exact: bool
    backend: str = ""
    local: str = ""
    """``host:port`` of the app's end of the connection."""
    other: str = ""
    """Empty where it is no request's."""
    perturbation: str = ""


THREAD, TASK, GREENLET = "thread", "task", "greenlet"
"""What runs in the background."""
BACKGROUND = "(unknown)"
"""The name of what does so, where its code is not known."""


@dataclass(frozen=True, slots=True)
class BackgroundEnded:
    """Worker to sidecar: an exception has ended something that no request waits for.

    A thread or greenlet that it left, or a task whose exception nobody has taken. ``at`` of a task
    that the app keeps is when a census found it.
    """

    kind: ClassVar[str] = "background.ended"
    what: str
    """``thread``, ``task`` or ``greenlet``."""
    name: str
    """Its outermost function, such as ``app.consume``."""
    at: float
    exception: str
    """Dotted name of its type."""
    frames: tuple[str, ...] = ()
    """Where it came from: ``app/views.py:41 checkout`` each, outermost first."""
    connections: tuple[str, ...] = ()
    """``host:port`` of the app's ends of the connections that these frames held, or on which it
    wrote last."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Worker to sidecar: hold what you perturb on these connections until I have looked.

    They are this worker's, and of a C library whose calls nothing else can tell apart.
    """

    kind: ClassVar[str] = "hold"
    clients: tuple[str, ...]
    """``host:port`` of the app's ends."""


@dataclass(frozen=True, slots=True)
class Looked:
    """Worker to sidecar: go on with this perturbation, I know what I can know."""

    kind: ClassVar[str] = "looked"
    perturbation: str


@dataclass(frozen=True, slots=True)
class CensusAsked:
    """Sidecar to worker: list your open backend connections."""

    kind: ClassVar[str] = "census.asked"
    census: str


@dataclass(frozen=True, slots=True)
class OpenConnection:
    """One open connection of the worker to a proxied backend.

    ``user`` is the request that used it last; ``in_use`` whether that request is
    still running; ``unsure`` whether only the garbage collector could tell that anybody
    still holds it, which had no time to run.
    """

    backend: str
    local: str
    opener: str | None
    user: str | None
    in_use: bool = False
    unsure: bool = False


@dataclass(frozen=True, slots=True)
class Running:
    """Threads, or asyncio tasks, of one name that run."""

    what: str
    name: str
    """As in ``BackgroundEnded``."""
    count: int


@dataclass(frozen=True, slots=True)
class Census:
    """Worker to sidecar: the answer to ``CensusAsked``."""

    kind: ClassVar[str] = "census"
    census: str
    at: float
    rss: int | None
    connections: tuple[OpenConnection, ...] = field(default=())
    background: tuple[Running, ...] | None = None
    """What runs, or None where that is not looked at."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """Worker to sidecar: records were discarded since the last one (bounded buffer)."""

    kind: ClassVar[str] = "dropped"
    count: int


@dataclass(frozen=True, slots=True)
class Goodbye:
    """Worker to sidecar: an orderly end of the worker; the stream closes after it."""

    kind: ClassVar[str] = "goodbye"


WORKER_RECORDS = (
    Hello,
    RequestBegun,
    RequestEnded,
    Attribution,
    Harm,
    BackgroundEnded,
    Hold,
    Looked,
    Census,
    Dropped,
    Goodbye,
)
SIDECAR_RECORDS = (Welcome, Proxies, PerturbationBegan, PerturbationEnded, CensusAsked)
Record = (
    Hello
    | RequestBegun
    | RequestEnded
    | Attribution
    | Harm
    | BackgroundEnded
    | Hold
    | Looked
    | Census
    | Dropped
    | Goodbye
    | Welcome
    | Proxies
    | PerturbationBegan
    | PerturbationEnded
    | CensusAsked
)
KINDS: dict[str, type[Any]] = {
    record.kind: record for record in (*WORKER_RECORDS, *SIDECAR_RECORDS)
}


_TRACEPARENT = re.compile(rf"{TRACEPARENT}(-.*)?")


def trace_of(traceparent: str) -> str:
    """The trace's id in the value of a ``traceparent``, empty where that is not valid."""
    found = _TRACEPARENT.fullmatch(traceparent.strip())
    if found is None or (found[2] and traceparent.strip().startswith("00")):
        return ""
    return found[1]


_CLIENT_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def client_id(text: str) -> str:
    """The value of ``CLIENT_HEADER`` if it can be an id, or nothing: anyone can send it."""
    return text if _CLIENT_ID.fullmatch(text) else ""


def worker_of(request: str) -> str:
    """The worker that a request's id names: ``<worker>-<number>``."""
    return request.rpartition("-")[0]
