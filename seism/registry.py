"""What can be plugged in, found through entry points.

The built-ins are registered in the same groups as anybody else's.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import PurePath
from typing import Any, TypeVar

from seism.errors import ConfigurationError
from seism.options import describe, nearest
from seism.protocols.base import Codec
from seism.protocols.fault import Fault
from seism.toxics.base import Toxic

T = TypeVar("T")

logger = logging.getLogger(__name__)

TOXICS = "seism.toxics"
"""Entry-point group of toxic types; a name must be the class's ``type``."""
PROTOCOLS = "seism.protocols"
"""Entry-point group of codecs; a name must be the class's ``name``. Its faults are toxics."""


REPORTS = "seism.reports"
"""Entry-point group of reports; a name is the file's, what it names is a ``Render``."""

Render = Callable[[Any, bool], str]
"""(judgement, strict) -> the whole text of one report."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A plug-in that could not be used, and why, in one line."""

    group: str
    name: str
    reason: str


class Registry:
    """The plug-ins there are, and those that failed to become one."""

    def __init__(
        self,
        toxics: Iterable[EntryPoint] = (),
        protocols: Iterable[EntryPoint] = (),
        reports: Iterable[EntryPoint] = (),
    ) -> None:
        """Loads each of them; one that fails is logged and kept in ``failures``."""
        self.toxics: dict[str, type[Toxic]] = {}
        self.protocols: dict[str, type[Codec]] = {}
        self.reports: dict[str, Render] = {}
        """The name of a file -> what makes its text."""
        self.failures: list[Failure] = []
        self._load(toxics, self._add_toxic)
        self._load(protocols, self._add_protocol)
        self._load(reports, self._add_report)

    def _load(self, entry_points: Iterable[EntryPoint], add: Callable[[EntryPoint], None]) -> None:
        for entry_point in entry_points:
            try:
                add(entry_point)
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

    def protocol(self, name: str, where: str) -> type[Codec] | None:
        """The codec of a protocol; None for no name. Raises ConfigurationError."""
        if not name:
            return None
        try:
            return self.protocols[name]
        except KeyError:
            known = ", ".join(sorted(self.protocols))
            raise ConfigurationError(
                f"{where}: protocol: {name!r} is not allowed, one of {known}"
                + nearest(name, self.protocols).partition("; known")[0]
            ) from None

    def _add_toxic(self, entry_point: EntryPoint) -> None:
        cls = _loaded(entry_point, Toxic)
        self._keep(entry_point.name, cls, entry_point.value)

    def _add_protocol(self, entry_point: EntryPoint) -> None:
        name = entry_point.name
        if name in self.protocols:
            raise ConfigurationError(f"{name} is registered already, by {self.protocols[name]}")
        cls = _loaded(entry_point, Codec)
        if cls.name != name:
            raise ConfigurationError(f"{entry_point.value} must have name = {name!r}")
        for fault in cls.faults:
            if not issubclass(fault, Fault) or fault.protocol != name:
                raise ConfigurationError(f"{fault.__name__} must be a fault of protocol {name!r}")
            if not fault.type.startswith(f"{name}_"):
                raise ConfigurationError(f"{fault.__name__}: type must begin with {name}_")
        for fault in cls.faults:
            self._keep(fault.type, fault, fault.__name__)
        self.protocols[name] = cls

    def _add_report(self, entry_point: EntryPoint) -> None:
        name = entry_point.name
        if name in self.reports:
            raise ConfigurationError(f"{name} is registered already")
        if name != PurePath(name).name or name.startswith("."):
            raise ConfigurationError(f"{name!r} is not the name of a file")
        render = entry_point.load()
        if not callable(render):
            raise ConfigurationError(f"{entry_point.value} is not a function")
        self.reports[name] = render

    def _keep(self, name: str, cls: type[Toxic], value: str) -> None:
        if name in self.toxics:
            raise ConfigurationError(f"{name} is registered already, by {self.toxics[name]}")
        if not dataclasses.is_dataclass(cls) or cls.type != name:
            raise ConfigurationError(f"{value} must be a dataclass with type = {name!r}")
        list(describe(cls))
        self.toxics[name] = cls


def _loaded(entry_point: EntryPoint, base: type[T]) -> type[T]:
    cls = entry_point.load()
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise ConfigurationError(f"{entry_point.value} is not a subclass of {base.__name__}")
    return cls


@cache
def load() -> Registry:
    """The registry of what is installed, looked up once in each process; nobody changes it."""
    return Registry(entry_points(group=TOXICS), entry_points(group=PROTOCOLS))


def load_reports() -> Registry:
    """The registry of the reports that are installed, and of nothing else."""
    return Registry(reports=entry_points(group=REPORTS))
