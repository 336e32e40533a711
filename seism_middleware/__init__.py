"""The front observer: a middleware that tells the sidecar how every request reacted."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"


def includeme(config: Any) -> None:
    """Pyramid's ``pyramid.includes = seism_middleware``."""
    from seism_middleware.pyramid import includeme as include

    include(config)
