"""The nouns that the sidecar's parts share. Records of the wire are in the contract."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from seism.errors import ConfigurationError
from seism.options import as_json, build, names, option

DOWN = "down"
"""The type, and the toxic's name, of the perturbation that a disabled proxy is."""
FRONT = "front"
"""The name of the proxy in front of the app, and of the worker that it observes as."""
PATTERN_LIMIT = 256
"""Characters of a pattern in ``Match``."""


UNIX = "unix:"
"""What the address of a Unix socket begins with; its path follows."""
_LONGEST_PATH = 107
"""Bytes: what fits into sockaddr_un beside the final zero (unix(7))."""


_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
MAX_NAME = 200
"""Characters of a name."""


def check_name(name: str, where: str) -> None:
    """Raises ConfigurationError for a name that no path of the control API can have."""
    if len(name) > MAX_NAME:
        raise ConfigurationError(f"{where}: too long: {len(name)} characters (maximum {MAX_NAME})")
    if "/" in name or name in (".", "..") or _UNPRINTABLE.search(name):
        raise ConfigurationError(
            f"{where}: invalid name {name!r} (no slash, no control characters, not . or ..)"
        )


def address(text: str, where: str) -> tuple[str, int]:
    """``host:port``, ``[ipv6]:port`` or ``unix:/path`` taken apart; an empty host is loopback.

    A Unix socket is its own host, ``unix:`` included, at port 0.
    Raises ConfigurationError for anything else; ``where`` opens the message.
    """
    if _UNPRINTABLE.search(text):
        raise ConfigurationError(f"{where}: {text!r} is not an address: it has control characters")
    if text.startswith(UNIX):
        _check_path(text.removeprefix(UNIX), where)
        return text, 0
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if bracketed:
        host = host[1:-1]
    good_host = bracketed or not any(character in host for character in ":[]")
    good_port = port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535
    if not colon or not good_host or not good_port:
        raise ConfigurationError(
            f"{where}: {text!r} is not an address, host:port is expected ([ipv6]:port, unix:/path)"
        )
    return host or "127.0.0.1", int(port)


def show_address(host: str, port: int) -> str:
    """The inverse of ``address``."""
    if host.startswith(UNIX):
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def unix_path(host: str) -> str:
    """The path of a Unix socket's ``host``, as ``address`` gives it; empty for any other."""
    return host.removeprefix(UNIX) if host.startswith(UNIX) else ""


def _check_path(path: str, where: str) -> None:
    if not path.startswith("/") or "\0" in path:
        raise ConfigurationError(f"{where}: {UNIX + path!r} has no absolute path")
    if len(path.encode(errors="surrogateescape")) > _LONGEST_PATH:
        raise ConfigurationError(
            f"{where}: {UNIX + path!r} is too long, a path of at most {_LONGEST_PATH} bytes fits"
        )


NEGOTIATED_HELP = (
    "true: TLS begins where the protocol agrees on it (STARTTLS, SSLRequest, CLIENT_SSL), not at "
    "once; needs a protocol that has that"
)


@dataclass(frozen=True, slots=True)
class ServerTls:
    """What the proxy shows to clients, which speak TLS to it then."""

    certificate: str = option(help="PEM file: the proxy's certificate and those that lead to a CA")
    key: str = option("", help="PEM file of its private key; default: the certificate's file")
    negotiated: bool = option(False, help=NEGOTIATED_HELP)


@dataclass(frozen=True, slots=True)
class ClientTls:
    """How the proxy speaks TLS to the backend, and what it believes."""

    ca: str = option("", help="PEM file of the CAs to believe; default: the system's")
    name: str = option("", help="the backend's name in its certificate; default: upstream's host")
    verify: bool = option(True, help="false: believe any certificate")
    negotiated: bool = option(
        False, help="true: it begins when the clients' does; needs tls.negotiated, too"
    )


REFUSED = ("reset", "close", "refuse")
"""What a client sees of a backend that does not answer the proxy's connect."""


UPSTREAM_HELP = "the backend: host:port, [ipv6]:port or unix:/path"
LISTEN_HELP = "where the proxy listens: host:port, where port 0 picks a free one, or unix:/path"
TLS_HELP = "clients speak TLS to the proxy, which shows them this certificate"
UPSTREAM_TLS_HELP = "the proxy speaks TLS to the backend; an empty table is enough"
REFUSED_HELP = (
    "what clients see of a backend that does not answer: a reset, an end of stream, or, "
    "after a first reset, a refusal until the backend answers again"
)


PROTOCOL_HELP = (
    "what the backend speaks, so that single exchanges can be perturbed; counts for new connections"
)


@dataclass(frozen=True, slots=True)
class FrontOptions:
    """What a proxy in front of the app does beside observing."""

    bad_gateway: bool = option(
        False, help="true: a client gets a 502 of our own where the app cannot be reached"
    )


@dataclass(frozen=True, slots=True)
class ProxySpec:
    """A back proxy as it is asked for."""

    name: str = option(help="unique name, usually the backend's")
    upstream: str = option(help=UPSTREAM_HELP)
    listen: str = option("127.0.0.1:0", help=LISTEN_HELP)
    enabled: bool = option(True, help="false: the backend is down")
    tls: ServerTls | None = option(None, help=TLS_HELP)
    upstream_tls: ClientTls | None = option(None, help=UPSTREAM_TLS_HELP)
    refused: str = option("reset", help=REFUSED_HELP, choices=REFUSED)
    protocol: str = option("", help=PROTOCOL_HELP)
    front: FrontOptions | None = None
    """It stands in front of the app, and its HTTP requests are observed; not for the API."""


@dataclass(frozen=True, slots=True)
class Match:
    """Which clients a toxic is for: those that meet every condition given.

    What can only be told from a client's first bytes is decided when they have come; no
    byte is held back for it, and a toxic acts from the chunk that decides. Connections
    whose first bytes had passed before a toxic asked for them do not match.
    """

    client: tuple[str, ...] = option((), help="addresses or networks, such as 10.0.0.0/8")
    server_name: str = option("", help="the name asked for by TLS (SNI); * and ? are wildcards")
    first_bytes: str = option(
        "", help="what the client's first 4096 bytes begin with; one character is one byte"
        " (Latin-1), *, ? and [seq] are wildcards",
    )  # fmt: skip

    def __post_init__(self) -> None:
        for text in self.client:
            try:
                ipaddress.ip_network(text, strict=False)
            except ValueError:
                raise ConfigurationError(
                    f"client: {text!r} is neither an IP address nor a network (10.0.0.0/8)"
                ) from None
        for key in ("server_name", "first_bytes"):
            value = getattr(self, key)
            if len(value) > PATTERN_LIMIT:
                raise ConfigurationError(
                    f"{key}: {len(value)} characters are too many, {PATTERN_LIMIT} are allowed"
                )
            if any(character > "\xff" for character in value):
                raise ConfigurationError(f"{key}: each character must be one byte (Latin-1)")

    @property
    def needs_bytes(self) -> bool:
        """Whether a client's address alone does not tell."""
        return bool(self.server_name or self.first_bytes)


@dataclass(frozen=True, slots=True)
class Which:
    """Which exchanges a fault is for: those that meet every condition given.

    What the protocol of the proxy shows beyond these is a key as well, such as ``key`` of
    Redis. The patterns take ``*``, ``?`` and ``[seq]``. Occurrences are counted over all
    connections of the proxy.
    """

    phase: str = option("", help="the exchange's phase, as the protocol names it")
    kind: str = option("", help="what is asked, in the protocol's word, in any case: a pattern")
    nth: int = option(0, help="only the n-th that matches, 0: any", minimum=0, maximum=1 << 31)
    every: int = option(0, help="only every k-th that matches, 0: any", minimum=0, maximum=1 << 31)
    first: int = option(
        0, help="only the first so many that it would affect, 0: all", minimum=0, maximum=1 << 31
    )


STREAMS = ("upstream", "downstream")


@dataclass(frozen=True, slots=True)
class ToxicSpec:
    """A toxic as it is asked for; ``attributes`` are those of its type.

    The only list of what any toxic can have: files, API, client, command line, schemas and
    docs take their keys from here.
    """

    type: str = option(help="the toxic's type", fixed=True)
    name: str = option("", help="unique per proxy; default <type>_<stream>", fixed=True)
    stream: str = option(
        "downstream",
        help="upstream is client to server, downstream server to client",
        choices=STREAMS,
        fixed=True,
    )
    toxicity: float = option(
        1.0, help="the chance that a connection, or an exchange, is affected", minimum=0, maximum=1
    )
    attributes: dict[str, Any] = option({}, help="the attributes of the toxic's type")
    match: Match | None = option(None, help="only clients that match; default: all", addition=True)
    connections: int = option(
        0,
        help="only the first so many connections that it would affect, 0: all",
        minimum=0,
        maximum=1_000_000,
        addition=True,
    )
    exchange: dict[str, Any] = option(
        {}, help="only exchanges that match, where it is a fault", addition=True
    )
    established: bool = option(
        False,
        help="only connections that exist when it is added; a run has it last through its"
        " aftershock",
        addition=True,
        fixed=True,
    )
    turn: int = option(
        0,
        help="only the connection with the n-th turn (a client's first bytes after an answer) on"
        " the proxy since the toxic was added, from that turn on; a toxic that only delays acts in"
        " that turn alone; 0: any",
        minimum=0,
        maximum=1_000_000,
        addition=True,
        fixed=True,
    )


@dataclass(frozen=True, slots=True)
class PlannedPartner:
    """What is perturbed at the same time, in a pair of a sweep."""

    backend: str
    type: str
    toxic: str


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One step of a run's plan, as the journal and the reports have it."""

    spec: ToxicSpec
    """What is done; its type may be ``down``. Its name is unique in a plan: results refer to it."""
    backend: str
    toxic: str = ""
    """The toxic's name on the proxy, as perturbation records carry it."""
    during: int = 0
    after: int = 0
    """Requests while it lasts, and after it, all workers together; 0: not known before."""
    front: bool = False
    """It is done to the clients' side of the app, not to a backend."""
    partner: PlannedPartner | None = None
    route: str = ""
    occurrence: int = 0
    at: float | None = None
    lasting: float = 0
    unit: str = ""
    probe: bool = False
    """It is one of a sweep, and may find nothing to perturb."""
    cold_start: bool = False
    """The app is started while it lasts."""

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def type(self) -> str:
        return self.spec.type

    @property
    def targets(self) -> list[tuple[str, str]]:
        """(Proxy, toxic) of what is done."""
        own = [(self.backend, self.toxic)]
        return own if self.partner is None else [*own, (self.partner.backend, self.partner.toxic)]

    @property
    def types(self) -> list[str]:
        """The types of what is done."""
        return [self.type] if self.partner is None else [self.type, self.partner.type]

    @classmethod
    def from_dict(cls, values: Any) -> PlannedStep:
        """From JSON; unknown keys are left out.

        Raises ConfigurationError where a part that everything refers to is missing.
        """
        try:
            toxic = {"name": values["name"], "stream": "", **_known(names(ToxicSpec), values)}
            if match := toxic.get("match"):
                toxic["match"] = build(Match, match, "plan: match")
            own = _known([each.name for each in dataclasses.fields(cls)[1:]], values)
            if partner := own.get("partner"):
                own["partner"] = PlannedPartner(
                    partner["backend"], partner["type"], partner["toxic"]
                )
            return cls(ToxicSpec(**toxic), **own)
        except (KeyError, TypeError) as error:
            raise ConfigurationError(f"plan: not a planned perturbation: {error}") from None

    def to_dict(self) -> dict[str, Any]:
        """For JSON; beyond the keys that every step has, those that say something."""
        values = {
            **as_json(self.spec),
            "backend": self.backend,
            "toxic": self.toxic,
            "during": self.during,
            "after": self.after,
        }
        if self.front:
            values["front"] = True
        if self.probe:
            values["probe"] = True
        if self.cold_start:
            values["cold_start"] = True
        if self.partner is not None:
            values["partner"] = dataclasses.asdict(self.partner)
        if self.route:
            values |= {"route": self.route, "occurrence": self.occurrence}
        if self.at is not None:
            values |= {"at": self.at, "lasting": self.lasting, "unit": self.unit}
        elif self.lasting:
            values |= {"lasting": self.lasting, "unit": self.unit}
        return values


def _known(keys: Iterable[str], values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: values[key] for key in keys if key in values}
