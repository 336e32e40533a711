"""A toxic in its place: on a proxy, under a name; and what has happened by it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from seism.errors import ConfigurationError
from seism.model import Match, ToxicSpec, check_name
from seism.options import as_json, build, describe
from seism.protocols.base import Codec, Exchange
from seism.protocols.fault import Fault
from seism.proxy.exchange_conditions import ExchangeConditions, check_words, exchange_conditions
from seism.proxy.match import Matcher
from seism.registry import Registry
from seism.rng import Seed
from seism.toxics.base import Toxic

CodecClass = type[Codec]


@dataclass(slots=True)
class ExchangeCounts:
    """Over all connections of a proxy, for ``nth``, ``every`` and ``first``."""

    matched: int = 0
    """Exchanges that met the conditions."""
    affected: int = 0
    """Those of them that the fault was drawn and free for."""


@dataclass(slots=True)
class ToxicHistory:
    """Counts and shared state of one toxic, over all connections of its proxy."""

    common: Any = None
    """What the toxic's stages share."""
    accepted: int = 0
    """Connections that its proxy had accepted when it was added."""
    connections: set[int] = field(default_factory=set)
    """The numbers of those that ``ToxicSpec.connections`` has counted."""
    turns: list[int] = field(default_factory=list)
    """Where in their streams the turns began that ``ToxicSpec.turn`` has counted."""
    exchanges: ExchangeCounts = field(default_factory=ExchangeCounts)


@dataclass(frozen=True, slots=True)
class InstalledToxic:
    """What a proxy does with a toxic. Changing it makes a new one with the same history."""

    spec: ToxicSpec
    """As it was asked for, with its name and all attributes."""
    toxic: Toxic
    matcher: Matcher | None
    """Which clients; None for all."""
    conditions: ExchangeConditions | None
    """Which exchanges; None for a toxic that acts on bytes."""
    history: ToxicHistory = field(compare=False)

    @classmethod
    def of(
        cls, spec: ToxicSpec, registry: Registry, where: str, protocol: CodecClass | None = None
    ) -> InstalledToxic:
        """The toxic that is asked for, on a proxy of that protocol.

        Raises ConfigurationError; ``where`` opens its message.
        """
        check_name(spec.name, where)
        toxic = build(registry.toxic(spec.type), spec.attributes, f"{where}: attributes")
        check_words(toxic, protocol, where)
        conditions = exchange_conditions(toxic, spec.exchange, protocol, where)
        if spec.turn and toxic.connecting:
            raise ConfigurationError(f"{where}: turn: {toxic.type} acts before there is any")
        if spec.turn and toxic.established:
            raise ConfigurationError(f"{where}: turn: {toxic.type} acts on connections, not turns")
        if spec.established and toxic.connecting:
            raise ConfigurationError(f"{where}: established: {toxic.type} acts before there is one")
        if spec.turn and conditions is not None:
            raise ConfigurationError(f"{where}: turn: a fault has exchange.nth for that")
        spec = replace(
            spec, name=spec.name or f"{spec.type}_{spec.stream}", attributes=_attributes(toxic)
        )
        matcher = _matcher(toxic, spec.match, where)
        return cls(spec, toxic, matcher, conditions, ToxicHistory(toxic.common()))

    def changed(
        self, spec: ToxicSpec, where: str, protocol: CodecClass | None = None
    ) -> InstalledToxic:
        """The same with what can be changed of ``spec``: all but name, type, stream and turn.

        Conditions of exchanges that differ start counting from 0. Raises ConfigurationError;
        ``where`` opens its message.
        """
        toxic = build(type(self.toxic), spec.attributes, f"{where}: attributes")
        check_words(toxic, protocol, where)
        matcher = _matcher(toxic, spec.match, where)
        conditions, history = self.conditions, self.history
        if spec.exchange is not self.spec.exchange:
            conditions = exchange_conditions(toxic, spec.exchange, protocol, where)
            history = replace(history, exchanges=ExchangeCounts())
        spec = replace(spec, attributes=_attributes(toxic))
        return InstalledToxic(spec, toxic, matcher, conditions, history)

    @property
    def name(self) -> str:
        """Unique per proxy, across both streams."""
        return self.spec.name

    @property
    def type(self) -> str:
        return self.spec.type

    @property
    def stream(self) -> str:
        return self.spec.stream

    def same_as(self, other: InstalledToxic) -> bool:
        """Whether ``other`` is this one, whatever has been changed since."""
        return self.history.connections is other.history.connections

    @property
    def shown(self) -> dict[str, Any]:
        """The attributes as Toxiproxy's clients expect them; additions only where they are used."""
        return as_json(self.toxic)

    def values(self) -> dict[str, Any]:
        """The JSON object of a toxic; what Toxiproxy does not know only where it is used."""
        # In the order of Toxiproxy, whose clients and examples show it.
        first = {"attributes": self.shown, "name": self.spec.name}
        return {**first, **as_json(self.spec), **first}

    # Which connections, and which exchanges.

    @property
    def needs_bytes(self) -> bool:
        """Whether a client's address alone does not tell if it is meant."""
        return self.spec.match is not None and self.spec.match.needs_bytes

    def matches(self, host: str, first: bytes | None) -> bool | None:
        """Whether it is for a client at ``host`` that began with ``first``.

        ``first`` is None where that is no longer known. None: it is not certain yet.
        """
        if self.matcher is None:
            return True
        if not self.matcher.address(host):
            return False
        if not self.needs_bytes:
            return True
        return False if first is None else self.matcher.first(first)

    @property
    def per_exchange(self) -> bool:
        """Its scope is the exchange, not the connection."""
        return isinstance(self.toxic, Fault)

    def concerns(self, exchange: Exchange) -> bool:
        """Whether it is for ``exchange``, as far as its conditions say."""
        assert isinstance(self.toxic, Fault) and self.conditions is not None
        return self.toxic.fits(exchange) and self.conditions.matches(exchange)

    def chance(
        self, seed: Seed, proxy: str, connection: int, exchange: int | None = None
    ) -> float | None:
        """The draw for one connection, or one exchange of it: the same whenever it is asked."""
        if self.spec.toxicity >= 1:
            return None
        names = (proxy, self.name, connection, *(() if exchange is None else (exchange,)))
        return seed.stream("toxicity", *names).random()

    def take_exchange(self, chance: float | None, *, free: bool) -> bool:
        """Count one more exchange that it concerns; whether that is affected.

        ``free``: no other fault has taken it.
        """
        assert self.conditions is not None
        counts = self.history.exchanges
        counts.matched += 1
        if not self.conditions.selects(counts.matched) or not self._drawn(chance) or not free:
            return False
        counts.affected += 1
        return self.conditions.admits(counts.affected)

    def take_connection(self, chance: float | None, connection: int) -> bool:
        """Whether a connection that matches is affected; counts it if it is."""
        taken = self.history.connections
        if not self._drawn(chance):
            return False
        if not self.spec.connections or connection in taken:
            return True
        if len(taken) >= self.spec.connections:
            return False
        taken.add(connection)
        return True

    def _drawn(self, chance: float | None) -> bool:
        return chance is None or chance < self.spec.toxicity


def _attributes(toxic: Toxic) -> dict[str, Any]:
    """All attributes of a toxic, under the names that users know."""
    return {
        # A field may end in an underscore where its key would be a Python keyword.
        key.name: getattr(toxic, key.name, getattr(toxic, f"{key.name}_", None))
        for key in describe(type(toxic))
    }


def _matcher(toxic: Toxic, match: Match | None, where: str) -> Matcher | None:
    if match is None:
        return None
    if toxic.connecting and match.needs_bytes:
        raise ConfigurationError(
            f"{where}: match: {toxic.type} acts before a client has sent anything,"
            " only client can be matched"
        )
    return Matcher(match)
