"""A toxic in its place: on a proxy, under a name."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from seism.model import ToxicSpec
from seism.options import build, describe
from seism.registry import Registry
from seism.rng import Seed
from seism.toxics.base import Toxic


@dataclass(frozen=True, slots=True)
class Rule:
    """What a proxy does with a toxic. Changing a rule makes a new one with the same name."""

    name: str
    """Unique per proxy, across both streams."""
    stream: str
    toxicity: float
    toxic: Toxic

    @classmethod
    def of(cls, spec: ToxicSpec, registry: Registry, where: str) -> Rule:
        """The rule that is asked for. Raises ConfigurationError; ``where`` opens its message."""
        toxic = build(registry.toxic(spec.type), spec.attributes, _attributes(where))
        return cls(spec.name or f"{spec.type}_{spec.stream}", spec.stream, spec.toxicity, toxic)

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

    def changed(self, attributes: dict[str, Any], toxicity: float | None, where: str) -> Rule:
        """The same with some attributes, and possibly the toxicity, changed.

        Raises ConfigurationError; ``where`` opens its message.
        """
        merged = {**self.attributes, **attributes}
        return dataclasses.replace(
            self,
            toxic=build(type(self.toxic), merged, _attributes(where)),
            toxicity=self.toxicity if toxicity is None else toxicity,
        )

    def affects(self, seed: Seed, proxy: str, connection: int) -> bool:
        """The draw for one connection: the same however often and whenever it is asked."""
        if self.toxicity >= 1:
            return True
        return seed.stream("toxicity", proxy, self.name, connection).random() < self.toxicity


def _attributes(where: str) -> str:
    return f"{where}: attributes"
