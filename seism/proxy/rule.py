"""A toxic in its place: on a proxy, under a name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from seism.errors import ConfigurationError
from seism.model import Match, ToxicSpec
from seism.options import build, describe
from seism.protocols.base import Codec, Exchange
from seism.protocols.fault import Fault
from seism.proxy.exchanges import Exchanges, exchanges
from seism.proxy.match import Matcher
from seism.registry import Registry
from seism.rng import Seed
from seism.toxics.base import Toxic

CodecClass = type[Codec]


@dataclass(frozen=True, slots=True)
class Rule:
    """What a proxy does with a toxic. Changing a rule makes a new one with the same name."""

    name: str
    """Unique per proxy, across both streams."""
    stream: str
    toxicity: float
    toxic: Toxic
    match: Match | None = None
    connections: int = 0
    """Only the first so many that it would affect; 0: all."""
    matcher: Matcher | None = field(default=None, compare=False)
    common: Any = field(default=None, compare=False)
    """What the toxic's stages share."""
    exchange: Mapping[str, Any] = field(default_factory=dict)
    """The conditions of ``which``, as they were asked for."""
    which: Exchanges | None = field(default=None, compare=False)
    """Which exchanges; None for a toxic that acts on bytes."""
    taken: set[int] = field(default_factory=set, compare=False)
    """The connections counted for ``connections``, by their numbers; survives changes."""
    turn: int = 0
    """Only the connection with the n-th turn since then, see ``seism.proxy.gate``; 0: any."""
    turns: list[int] = field(default_factory=list, compare=False)
    """Where the turns began that were counted for ``turn``; survives changes."""

    @classmethod
    def of(
        cls, spec: ToxicSpec, registry: Registry, where: str, protocol: type[Codec] | None = None
    ) -> Rule:
        """The rule that is asked for, on a proxy of that protocol.

        Raises ConfigurationError; ``where`` opens its message.
        """
        toxic = build(registry.toxic(spec.type), spec.attributes, _attributes(where))
        which = exchanges(toxic, spec.exchange, protocol, where)
        if spec.turn and toxic.connecting:
            raise ConfigurationError(f"{where}: turn: {toxic.type} acts before there is any")
        if spec.turn and which is not None:
            raise ConfigurationError(f"{where}: turn: a fault has exchange.nth for that")
        return cls(
            spec.name or f"{spec.type}_{spec.stream}",
            spec.stream,
            spec.toxicity,
            toxic,
            spec.match,
            spec.connections,
            _matcher(toxic, spec.match, where),
            common=toxic.common(),
            exchange=spec.exchange,
            which=which,
            turn=spec.turn,
        )

    @property
    def type(self) -> str:
        return self.toxic.type

    @property
    def attributes(self) -> dict[str, Any]:
        """All attributes of the type, under the names that users know."""
        return {
            # A field may end in an underscore where its key would be a Python keyword.
            key.name: getattr(self.toxic, key.name, getattr(self.toxic, f"{key.name}_", None))
            for key in describe(type(self.toxic))
        }

    @property
    def shown(self) -> dict[str, Any]:
        """The attributes as Toxiproxy's clients expect them; additions only where they are used."""
        values = self.attributes
        for key in describe(type(self.toxic)):
            if key.option.addition and values[key.name] == key.default:
                del values[key.name]
        return values

    def values(self) -> dict[str, Any]:
        """The JSON object of a toxic; what Toxiproxy does not know only where it is used."""
        values: dict[str, Any] = {
            "attributes": self.shown,
            "name": self.name,
            "type": self.type,
            "stream": self.stream,
            "toxicity": self.toxicity,
        }
        if self.match is not None:
            values["match"] = dataclasses.asdict(self.match)
        if self.connections:
            values["connections"] = self.connections
        if self.exchange:
            values["exchange"] = dict(self.exchange)
        if self.turn:
            values["turn"] = self.turn
        return values

    def changed(
        self,
        attributes: Mapping[str, Any],
        toxicity: float | None,
        where: str,
        *,
        match: Match | None = None,
        connections: int | None = None,
        exchange: Mapping[str, Any] | None = None,
        protocol: CodecClass | None = None,
    ) -> Rule:
        """The same with some attributes, and what else is not None, changed.

        Raises ConfigurationError; ``where`` opens its message.
        """
        merged = {**self.attributes, **attributes}
        match = self.match if match is None else match
        toxic = build(type(self.toxic), merged, _attributes(where))
        which = self.which
        if exchange is not None:
            which = exchanges(toxic, exchange, protocol, where)
        return dataclasses.replace(
            self,
            toxic=toxic,
            toxicity=self.toxicity if toxicity is None else toxicity,
            match=match,
            matcher=_matcher(toxic, match, where),
            connections=self.connections if connections is None else connections,
            exchange=self.exchange if exchange is None else exchange,
            which=which,
        )

    def matches(self, host: str, first: bytes | None) -> bool | None:
        """Whether it is for a client at ``host`` that began with ``first``.

        ``first`` is None where that is no longer known. None: it is not certain yet.
        """
        if self.matcher is None or self.match is None:
            return True
        if not self.matcher.address(host):
            return False
        if not self.match.needs_bytes:
            return True
        return False if first is None else self.matcher.first(first)

    @property
    def per_exchange(self) -> bool:
        """Its scope is the exchange, not the connection."""
        return isinstance(self.toxic, Fault)

    def concerns(self, exchange: Exchange) -> bool:
        """Whether it is for ``exchange``, as far as its conditions say."""
        assert isinstance(self.toxic, Fault) and self.which is not None
        return self.toxic.fits(exchange) and self.which.matches(exchange)

    def occurs(self, chance: float | None, *, free: bool) -> bool:
        """Count one more exchange that it concerns; whether that is affected.

        ``free``: no other rule has taken it.
        """
        assert self.which is not None
        if not self.which.counts() or (chance is not None and chance >= self.toxicity):
            return False
        return free and self.which.takes()

    def chance(
        self, seed: Seed, proxy: str, connection: int, exchange: int | None = None
    ) -> float | None:
        """The draw for one connection, or one exchange of it: the same whenever it is asked."""
        if self.toxicity >= 1:
            return None
        names = (proxy, self.name, connection, *(() if exchange is None else (exchange,)))
        return seed.stream("toxicity", *names).random()

    def affects(self, chance: float | None, connection: int) -> bool:
        """Whether a connection that matches is affected; counts it if it is."""
        if chance is not None and chance >= self.toxicity:
            return False
        if not self.connections or connection in self.taken:
            return True
        if len(self.taken) >= self.connections:
            return False
        self.taken.add(connection)
        return True


def _attributes(where: str) -> str:
    return f"{where}: attributes"


def _matcher(toxic: Toxic, match: Match | None, where: str) -> Matcher | None:
    if match is None:
        return None
    if toxic.connecting and match.needs_bytes:
        raise ConfigurationError(
            f"{where}: match: {toxic.type} acts before a client has sent anything,"
            " only client can be matched"
        )
    return Matcher(match)
