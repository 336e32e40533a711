"""Which exchanges a fault is for: the conditions of ``model.Which``, ready to be asked."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping
from typing import Any

from seism.errors import ConfigurationError
from seism.model import PATTERN_LIMIT, Which
from seism.options import build, describe, nearest
from seism.protocols.base import Codec, Exchange
from seism.protocols.fault import Fault
from seism.proxy.expression import expression
from seism.toxics.base import Toxic


class ExchangeConditions:
    """One ``Which``, compiled, and the keys of one protocol beside it.

    Globs: ``fnmatch`` makes each ``*`` atomic, so that matching never goes back. Where a
    protocol has regular expressions, see ``seism.proxy.expression``.
    """

    def __init__(
        self, which: Which, fields: Mapping[str, str], protocol: type[Codec], where: str
    ) -> None:
        """Raises ConfigurationError for an expression that can't be; ``where`` opens it."""
        self._which = which
        self._kind = which.kind and re.compile(fnmatch.translate(which.kind), re.IGNORECASE)
        self._fields = [
            (key, re.compile(fnmatch.translate(pattern)))
            for key, pattern in fields.items()
            if key not in protocol.expressions
        ]
        self._expressions = [
            (*protocol.expressions[key], expression(pattern, f"{where}.{key}"))
            for key, pattern in fields.items()
            if key in protocol.expressions
        ]

    def matches(self, exchange: Exchange) -> bool:
        """Whether ``exchange`` meets the conditions that are not about numbers."""
        if self._which.phase and exchange.phase != self._which.phase:
            return False
        if self._kind and not self._kind.fullmatch(exchange.kind):
            return False
        # Each exchange is asked about: loops are faster than what reads better.
        fields = exchange.fields
        for key, pattern in self._fields:
            if not pattern.fullmatch(fields.get(key, "")):
                return False
        for key, shape, found in self._expressions:
            if key not in fields or not found(shape(fields[key])):
                return False
        return True

    def selects(self, number: int) -> bool:
        """Whether ``nth`` and ``every`` are about the ``number``-th exchange that matches."""
        if self._which.nth and number != self._which.nth:
            return False
        return not self._which.every or number % self._which.every == 0

    def admits(self, number: int) -> bool:
        """Whether the ``number``-th exchange that would be affected is one of the ``first``."""
        return not self._which.first or number <= self._which.first


def exchange_conditions(
    toxic: Toxic, asked: Mapping[str, Any], protocol: type[Codec] | None, where: str
) -> ExchangeConditions | None:
    """What ``asked`` says, for a fault on a proxy of ``protocol``; None for any other toxic.

    Raises ConfigurationError for a fault that can't be there, and for conditions that the
    protocol does not have; ``where`` opens the message.
    """
    if not isinstance(toxic, Fault):
        if asked:
            raise ConfigurationError(
                f"{where}: exchange: {toxic.type} acts on bytes, not on exchanges"
            )
        return None
    if protocol is None:
        raise ConfigurationError(
            f"{where}: {toxic.type} needs a proxy that knows its protocol"
            f" (protocol = {toxic.protocol or '...'!r})"
        )
    if toxic.protocol not in ("", protocol.name):
        raise ConfigurationError(
            f"{where}: {toxic.type} is of {toxic.protocol}, and the proxy speaks {protocol.name}"
        )
    where = f"{where}: exchange"
    own = {key: value for key, value in asked.items() if key in protocol.matches}
    common = {key: value for key, value in asked.items() if key not in own}
    known = [*(key.name for key in describe(Which)), *protocol.matches]
    for key in common:
        if key not in known:
            raise ConfigurationError(
                f"{where}: unknown key {key!r}{nearest(key, known)}; {protocol.name} has"
                f" {', '.join(sorted(known))}"
            )
    which = build(Which, common, where)
    for key, value in (*own.items(), ("kind", which.kind)):
        if not isinstance(value, str):
            raise ConfigurationError(f"{where}.{key}: expected a string, got {value!r}")
        if len(value) > PATTERN_LIMIT:
            raise ConfigurationError(
                f"{where}.{key}: too long: {len(value)} characters (maximum {PATTERN_LIMIT})"
            )
    if which.kind.lower() in {kind.lower() for kind in protocol.unanswered_kinds}:
        raise ConfigurationError(
            f"{where}.kind: {which.kind} gets no reply, {toxic.type} needs a kind that is answered"
        )
    phases = toxic.phases or tuple(protocol.phases)
    if which.phase and which.phase not in phases:
        raise ConfigurationError(
            f"{where}.phase: expected one of {', '.join(phases)} for"
            f" {toxic.type}, got {which.phase!r}"
        )
    return ExchangeConditions(which, own, protocol, where)


def check_words(toxic: Toxic, protocol: type[Codec] | None, where: str) -> None:
    """Raise ConfigurationError for last words that ``protocol`` does not have."""
    try:
        toxic.check({} if protocol is None else protocol.last_words)
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: attributes: {error}") from None
