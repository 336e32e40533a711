"""The errors that the app logs while it works for a request."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from seism_middleware.contract import LoggedError
from seism_middleware.request import current, type_name

MAX_ERRORS = 20
"""Errors kept of one request; the first ones are the ones that tell."""
MAX_TEMPLATE = 300
"""Characters kept of a message's template."""


def logged_error(record: logging.LogRecord) -> LoggedError:
    """What may be told of ``record``: no values, so no message that the app formatted."""
    message = record.msg[:MAX_TEMPLATE] if record.args and isinstance(record.msg, str) else ""
    kind = record.exc_info[0] if record.exc_info else None
    return LoggedError(
        logger=record.name,
        where=f"{record.module}:{record.lineno}",
        message=message,
        exception=type_name(kind) if kind else "",
    )


def call_handlers(original: Callable[..., Any]) -> Callable[..., Any]:
    """A ``logging.Logger.callHandlers`` that notes errors made for a request.

    Every record of every logger passes there, of those that do not propagate as well.
    """

    def callHandlers(self: logging.Logger, record: logging.LogRecord) -> Any:
        if record.levelno >= logging.ERROR:
            request = current.get()
            if request is not None and request.over is None and len(request.errors) < MAX_ERRORS:
                request.errors.append(logged_error(record))
        return original(self, record)

    return callHandlers
