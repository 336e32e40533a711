"""What can be plugged in, found through entry points.

The built-ins are registered in the same groups as anybody else's.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

from seism.errors import ConfigurationError
from seism.options import describe, nearest
from seism.toxics.base import Toxic

logger = logging.getLogger(__name__)

TOXICS = "seism.toxics"
"""Entry-point group of toxic types; a name must be the class's ``type``."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A plug-in that could not be used, and why, in one line."""

    group: str
    name: str
    reason: str


class Registry:
    """The toxic types there are, and the plug-ins that failed to become one."""

    def __init__(self, toxics: Iterable[EntryPoint]) -> None:
        """Loads each of ``toxics``; one that fails is logged and kept in ``failures``."""
        self.toxics: dict[str, type[Toxic]] = {}
        self.failures: list[Failure] = []
        for entry_point in toxics:
            try:
                self._add(entry_point)
            except Exception as error:
                reason = str(error) or type(error).__name__
                self.failures.append(Failure(entry_point.group, entry_point.name, reason))
                logger.warning(
                    "plug-in %s (%s) is left out: %s", entry_point.name, entry_point.value, reason
                )

    def toxic(self, type: str) -> type[Toxic]:
        """The class of a toxic type. Raises ConfigurationError if there is none."""
        try:
            return self.toxics[type]
        except KeyError:
            hint = nearest(type, self.toxics)
            raise ConfigurationError(f"invalid toxic type {type!r}{hint}") from None

    def _add(self, entry_point: EntryPoint) -> None:
        name = entry_point.name
        if name in self.toxics:
            raise ConfigurationError(f"{name} is registered already, by {self.toxics[name]}")
        cls = entry_point.load()
        if not (isinstance(cls, type) and issubclass(cls, Toxic)):
            raise ConfigurationError(f"{entry_point.value} is not a subclass of {Toxic.__name__}")
        if not dataclasses.is_dataclass(cls) or cls.type != name:
            raise ConfigurationError(
                f"{entry_point.value} must be a dataclass with type = {name!r}"
            )
        list(describe(cls))
        self.toxics[name] = cls


def load() -> Registry:
    """The registry of what is installed."""
    return Registry(entry_points(group=TOXICS))
