"""The front observer: a middleware that tells the sidecar how every request reacted."""

from __future__ import annotations

from typing import Any

from seism_middleware.version import __version__

__all__ = ["__version__", "includeme"]


def includeme(config: Any) -> None:
    """Pyramid's ``pyramid.includes = seism_middleware``."""
    from seism_middleware.pyramid import includeme as include

    include(config)
