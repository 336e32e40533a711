"""What the app's process and the sidecar say to each other.

The stream is one TCP connection per worker, opened by the worker to the sidecar's
control address as an HTTP/1.1 upgrade of ``STREAM_PATH`` to ``PROTOCOL``. After the
101 both sides write JSON objects, one a line, UTF-8, no line longer than ``MAX_LINE``
bytes. Each line is one of the records below; its class is named by ``kind``. Lines of
an unknown kind and unknown fields are ignored, so that either side may be newer.

These records are also what the journal holds: there is no second definition of them.
Times are seconds of ``time.monotonic()`` of the process that wrote the record; the two
``Clock`` records at the start tell whether both sides share that clock.

Stdlib only: this module is imported by the app's process and by the sidecar.
"""

from __future__ import annotations

import dataclasses
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

PROTOCOL = "seism/1"
STREAM_PATH = "/seism/stream"
MAX_LINE = 64 * 1024
RING_COUNT = struct.Struct("@Q")
RING_HEAD = 64
"""Layout of ``Welcome.ring``: a count of bytes, the key, and from here on the lines. The
count is in the machine's own order, so that it is written as one word."""

SIDECAR_VARIABLE = "SEISM_SIDECAR"
"""Environment variable: ``host:port`` of the sidecar's control address."""
TOKEN_VARIABLE = "SEISM_TOKEN"
"""Environment variable: the token that the sidecar wants, if it wants one."""
REDIRECT_VARIABLE = "SEISM_REDIRECT"
"""Environment variable: a JSON object, ``host:port`` of each backend -> of its proxy."""

ENVIRON_REQUEST = "seism.request"
"""WSGI environ and ASGI scope key: the id of the request that is being observed."""
ENVIRON_ROUTE = "seism.route"
"""WSGI environ and ASGI scope key: a route pattern set by the app or an adapter."""

PERTURBATION_HEADER = "Seism-Perturbation"
"""Response header, by option: ids of perturbations that hit the request, with commas."""

UPSTREAM = "upstream"
DOWNSTREAM = "downstream"

EVIDENCE = TRACE, LEDGER, DRIVER, KERNEL, CONNECT, OVERLAP = (
    "trace", "ledger", "driver", "kernel", "connect", "overlap"
)  # fmt: skip
"""How an attribution is known, strongest first; ``overlap`` is never exact."""

BODY_COMPLETE = "complete"
BODY_TRUNCATED = "truncated"
BODY_NONE = "none"
"""How a response's body ended: ``none`` means that no response was made at all."""


class ContractError(ValueError):
    """A line of the stream that is not what this module describes."""


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


@dataclass(frozen=True, slots=True)
class Proxies:
    """Sidecar to worker: the whole list of proxies, again, after it changed."""

    kind: ClassVar[str] = "proxies"
    proxies: tuple[Proxied, ...] = ()


@dataclass(frozen=True, slots=True)
class RequestBegun:
    """Worker to sidecar, sent before the app sees the request."""

    kind: ClassVar[str] = "request.begun"
    request: str
    method: str
    at: float
    route: str = ""
    """As far as it is known before the app runs: the path without what looks like an id."""


LIBRARIES = ("site-packages", "dist-packages")
ELSEWHERE = "..."
"""How the path of a frame begins that is not in the app's folder."""


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
    still running.
    """

    backend: str
    local: str
    opener: str | None
    user: str | None
    in_use: bool = False


@dataclass(frozen=True, slots=True)
class Census:
    """Worker to sidecar: the answer to ``CensusAsked``."""

    kind: ClassVar[str] = "census"
    census: str
    at: float
    rss: int | None
    connections: tuple[OpenConnection, ...] = field(default=())


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
    Hello, RequestBegun, RequestEnded, Attribution, Harm, Hold, Looked, Census, Dropped, Goodbye,
)  # fmt: skip
SIDECAR_RECORDS = (Welcome, Proxies, PerturbationBegan, PerturbationEnded, CensusAsked)
Record = (
    Hello | RequestBegun | RequestEnded | Attribution | Harm | Hold | Looked | Census | Dropped
    | Goodbye | Welcome | Proxies | PerturbationBegan | PerturbationEnded | CensusAsked
)  # fmt: skip
KINDS: dict[str, type[Any]] = {
    record.kind: record for record in (*WORKER_RECORDS, *SIDECAR_RECORDS)
}

# Fields that hold other records: (record, field) -> (class, is a tuple of them).
_NESTED: dict[tuple[type[Any], str], tuple[type[Any], bool]] = {
    (Hello, "clock"): (Clock, False),
    (Welcome, "clock"): (Clock, False),
    (Welcome, "proxies"): (Proxied, True),
    (Proxies, "proxies"): (Proxied, True),
    (PerturbationBegan, "exchange"): (PerturbedExchange, False),
    (RequestEnded, "errors"): (LoggedError, True),
    (RequestEnded, "sends"): (SendCount, True),
    (RequestEnded, "refused"): (Refused, True),
    (Census, "connections"): (OpenConnection, True),
}


def to_dict(record: Any) -> dict[str, Any]:
    """The JSON object of ``record``, its ``kind`` first; values at their default are left out."""
    return {"kind": record.kind, **_fields(record)}


def _fields(record: Any) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, default in _defaults(type(record)):
        value = getattr(record, name)
        if value is default or value == default:
            continue
        if isinstance(value, tuple):
            values[name] = [_fields(v) if dataclasses.is_dataclass(v) else v for v in value]
        elif dataclasses.is_dataclass(value):
            values[name] = _fields(value)
        else:
            values[name] = value
    return values


_DEFAULTS: dict[type[Any], tuple[tuple[str, Any], ...]] = {}


def _defaults(cls: type[Any]) -> tuple[tuple[str, Any], ...]:
    found = _DEFAULTS.get(cls)
    if found is None:
        found = tuple((f.name, f.default) for f in dataclasses.fields(cls))
        _DEFAULTS[cls] = found
    return found


def encode(record: Any, number: int | None = None) -> bytes:
    """One line, newline included. ``number`` is the record's number in its worker's stream.

    It is what ``json`` makes of ``to_dict``, without the dictionary in between: this runs
    twice in every request.
    """
    cls = type(record)
    end = "}\n" if number is None else f',"n":{number}}}\n'
    return f'{{"kind":"{cls.kind}"{(_ENCODERS.get(cls) or _encoder(cls))(record)}{end}'.encode()


_ENCODERS: dict[type[Any], Callable[[Any], str]] = {}
"""Class -> what makes the members of its JSON object, each with a comma before it."""


def _encoder(cls: type[Any]) -> Callable[[Any], str]:
    """Written out for the fields of ``cls`` once, as ``dataclasses`` does with its methods."""
    lines = ["def encoder(record):", "    text = ''"]
    names: dict[str, Any] = {"write": _WRITERS.get, "other": _written}
    for field_ in dataclasses.fields(cls):
        name, default = field_.name, field_.default
        names[f"_{name}"] = default
        lines.append(f"    value = record.{name}")
        indent = "    "
        if default is not dataclasses.MISSING:
            lines.append(f"    if value is not _{name} and value != _{name}:")
            indent = "        "
        lines.append(f"{indent}text += ',\"{name}\":' + write(type(value), other)(value)")
    exec("\n".join([*lines, "    return text"]), names)
    encoder: Callable[[Any], str] = names["encoder"]
    _ENCODERS[cls] = encoder
    return encoder


def _written(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{','.join(map(_written, value))}]"
    if dataclasses.is_dataclass(value):
        cls = type(value)
        return f"{{{(_ENCODERS.get(cls) or _encoder(cls))(value)[1:]}}}"
    return json.dumps(value, separators=(",", ":"))


def _float(value: float) -> str:
    # json writes NaN and the infinities in words of its own.
    return repr(value) if value - value == 0.0 else json.dumps(value)


_WRITERS: dict[type[Any], Callable[[Any], str]] = {
    str: json.encoder.encode_basestring_ascii,
    int: int.__repr__,
    float: _float,
}


def from_dict(values: Any, kinds: dict[str, type[Any]] = KINDS) -> Any:
    """The record that ``values`` describes, or None for a kind that is not in ``kinds``.

    Raises ContractError, to blame the sender, for a missing or malformed field.
    """
    if not isinstance(values, dict):
        raise ContractError(f"a record is a JSON object, not {type(values).__name__}")
    kind = values.get("kind", "")
    if not isinstance(kind, str):
        raise ContractError(f"a kind is a string, not {type(kind).__name__}")
    cls = kinds.get(kind)
    return None if cls is None else _build(cls, values)


def _build(cls: type[Any], values: Any) -> Any:
    if not isinstance(values, dict):
        raise ContractError(f"{cls.__name__}: a JSON object was expected")
    arguments: dict[str, Any] = {}
    for name, _ in _defaults(cls):
        if name not in values:
            continue
        value = values[name]
        nested = _NESTED.get((cls, name))
        if nested is not None:
            inner, many = nested
            if many and not isinstance(value, list):
                raise ContractError(f"{cls.__name__}.{name}: a list was expected")
            value = tuple(_build(inner, v) for v in value) if many else _build(inner, value)
        elif isinstance(value, list):
            value = tuple(value)
        arguments[name] = value
    try:
        return cls(**arguments)
    except TypeError as error:
        raise ContractError(f"{cls.__name__}: {error}") from None


def decode(line: bytes) -> tuple[Any, int | None]:
    """``(record or None, its number or None)`` of one line.

    Raises ContractError for a line that is not a record.
    """
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:  # the latter for brackets in brackets
        raise ContractError(f"not JSON: {error}") from None
    record = from_dict(values)
    number = values.get("n")
    return record, number if isinstance(number, int) else None


def clock_domain() -> str:
    """Names the monotonic clock of this process: the boot and the time namespace."""
    parts = []
    for path, read in (
        ("/proc/sys/kernel/random/boot_id", True),
        ("/proc/self/ns/time", False),
    ):
        try:
            if read:
                with open(path, encoding="ascii") as file:
                    parts.append(file.read().strip())
            else:
                import os

                parts.append(os.readlink(path))
        except OSError:
            parts.append("-")
    return " ".join(parts)
