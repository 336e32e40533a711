"""Our own faults stay with us: no patch raises what the original would not.

A patch is the original with something of ours before and after it. Ours runs in a ``try`` of its
own, so that whatever it raises is logged and the original is called, once, as the app called it.
The original runs outside of it: its exceptions reach the app unchanged.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections.abc import Callable
from functools import wraps
from typing import Any

MAX_TOLD = 20
"""Places in our code of whose faults the log tells, once each."""

_log = logging.getLogger(__name__)
_told: set[tuple[str, int]] = set()
_telling = threading.local()


def fault() -> None:
    """Called while one of our exceptions is handled: say so, once per place, and go on."""
    if getattr(_telling, "now", False):
        return  # the log is patched, too
    _telling.now = True
    try:
        place = _place()
        if place not in _told and len(_told) < MAX_TOLD:
            _told.add(place)
            _log.warning("a patch failed; the app's call goes on without it", exc_info=True)
    except Exception:
        pass  # whatever the app has made of its log
    finally:
        _telling.now = False


def _place() -> tuple[str, int]:
    """Where the exception that is being handled came from."""
    frame, line = list(traceback.walk_tb(sys.exc_info()[2]))[-1]
    return frame.f_code.co_filename, line


def shielded(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, that returns None where it would have raised an Exception."""

    @wraps(function)
    def shield(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except Exception:
            fault()
            return None

    return shield


def guarded(
    original: Callable[..., Any],
    before: Callable[..., Any],
    after: Callable[[Any, Any], object] | None = None,
    failed: Callable[[Any, BaseException], object] | None = None,
) -> Any:
    """``original`` with ours around it.

    ``before`` gets the call's arguments. If it returns None, or fails, only the original is
    called. Otherwise what it returns is given to ``after``, with the original's result, or to
    ``failed``, with its exception.
    """

    def patched(*args: Any, **kwargs: Any) -> Any:
        try:
            state = before(*args, **kwargs)
        except Exception:
            state = None
            fault()
        if state is None:
            return original(*args, **kwargs)
        try:
            result = original(*args, **kwargs)
        except BaseException as error:
            if failed is not None:
                try:
                    failed(state, error)
                except Exception:
                    fault()
            raise
        if after is not None:
            try:
                after(state, result)
            except Exception:
                fault()
        return result

    return patched
