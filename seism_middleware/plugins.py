"""Drivers and kinds of evidence: those of Seism, and those of other packages (entry points).

Ours are declared in the form of entry points, and loaded and called as those of others are. They
stand in tables of ours rather than in the distribution's metadata, because the middleware also
runs where there is none: from a zip file, or copied into an app. Others' are looked up in the
metadata of what is installed, once per process, when the first request comes and not at import.
A plug-in that cannot be loaded is named in the log, and costs the others nothing.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Container, Mapping
from functools import cache
from typing import Any

DRIVERS, EVIDENCE = "seism.drivers", "seism.evidence"
"""The groups of entry points."""

_log = logging.getLogger(__name__)


def plugins(
    group: str, own: Mapping[str, str], replaceable: Container[str] = ()
) -> dict[str, Callable[..., Any]]:
    """Name -> what is called, of ``own`` (name -> ``module:attribute``) and of other packages.

    Of one name it is ours, unless that is ``replaceable``.
    """
    found = {name: _later(f"{group}: {name}", value) for name, value in own.items()}
    for name, value in _outside().get(group, ()):
        if name in found and name not in replaceable:
            _log.warning("%s: %s of another package is left out: the name is taken", group, name)
        else:
            found[name] = _later(f"{group}: {name}", value)
    return found


def load(where: str, value: str) -> Any:
    """The object that ``value`` (``module:attribute``) names; None, and a line in the log that
    names it, if that fails.
    """
    module, _, attribute = value.partition(":")
    try:
        found = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
        return found
    except Exception:
        _log.warning("%s (%s) cannot be loaded and is left out", where, value, exc_info=True)
        return None


def _later(where: str, value: str) -> Callable[..., Any]:
    """Loads ``value`` when it is first called; returns None where that, or the call, fails."""
    loaded: list[Any] = []

    def call(*args: Any) -> Any:
        if not loaded:
            loaded.append(load(where, value))
        try:
            return None if loaded[0] is None else loaded[0](*args)
        except Exception:
            _log.warning("%s (%s) failed and is left out", where, value, exc_info=True)
            return None

    return call


def complain(name: str) -> None:
    """Called while an exception of a plug-in is handled, which has been called already."""
    _log.warning("%s: its plug-in failed and is left out", name, exc_info=True)


@cache
def _outside() -> dict[str, list[tuple[str, str]]]:
    """Group -> (name, value) of each entry point of what is installed."""
    try:
        from importlib.metadata import entry_points

        return {
            group: [(point.name, point.value) for point in entry_points(group=group)]
            for group in (DRIVERS, EVIDENCE)
        }
    except Exception:
        _log.warning("the entry points of other packages cannot be read", exc_info=True)
        return {}
