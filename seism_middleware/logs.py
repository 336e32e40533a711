"""The errors that the app logs while it works for a request."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

from seism_middleware.contract import LoggedError
from seism_middleware.frames import frame, frames, type_name
from seism_middleware.guard import guarded
from seism_middleware.traffic import current

MAX_ERRORS = 20
"""Errors kept of one request; the first ones are the ones that tell."""
MAX_TEMPLATE = 300
"""Characters kept of a message's template."""
MAX_SEARCHED = 20_000
"""Characters of a message, and of an exception's, that are searched."""

Named = Callable[[str], tuple[str, ...]]
"""The backends that a text names."""

_CREDENTIALS = re.compile(
    r"\w://[^\s/:@]*:(?![*x]+@)[^\s/@]+@"
    r"|\b(?:password|passwd|pwd|secret|token|api[_-]?key|authorization)\b[\"']?\s*[=:]\s*"
    r"[\"']?(?![*x]{2,}|None\b|null\b|[\"'<%{}]|$)[^\s\"']",
    re.IGNORECASE,
)
"""A password in an address, or behind the word for one; what has been masked is none."""


def logged_error(record: logging.LogRecord, named: Named = lambda _: ()) -> LoggedError:
    """What may be told of ``record``: no values, so no message that the app formatted."""
    message = record.msg[:MAX_TEMPLATE] if record.args and isinstance(record.msg, str) else ""
    kind = record.exc_info[0] if record.exc_info else None
    text = _text(record)
    return LoggedError(
        logger=record.name,
        where=f"{record.module}:{record.lineno}",
        message=message,
        exception=type_name(kind) if kind else "",
        backends=named(text),
        credentials=_CREDENTIALS.search(text) is not None,
        frames=_frames(record),
    )


def _frames(record: logging.LogRecord) -> tuple[str, ...]:
    raised = frames(record.exc_info[2]) if record.exc_info else ()
    return raised or (frame(record.pathname, record.lineno, record.funcName or "?"),)


def _text(record: logging.LogRecord) -> str:
    """All that a reader of the log would see, which stays here."""
    parts = [record.name]
    try:
        parts.append(record.getMessage()[:MAX_SEARCHED])
        if record.exc_info and record.exc_info[1] is not None:
            parts.append(str(record.exc_info[1])[:MAX_SEARCHED])
    except Exception:
        pass  # logging says so itself, and goes on
    return "\n".join(parts)


def call_handlers(original: Callable[..., Any], named: Named = lambda _: ()) -> Any:
    """A ``logging.Logger.callHandlers`` that notes errors made for a request.

    Every record of every logger passes there, of those that do not propagate as well.
    """

    def before(self: logging.Logger, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR:
            request = current.get()
            if request is not None and request.over is None and len(request.errors) < MAX_ERRORS:
                request.errors.append(logged_error(record, named))

    return guarded(original, before)
