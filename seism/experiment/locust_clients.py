"""A locustfile beside the user's: what Locust's HTTP clients send gets an id, and is told.

Each worker process hands over what its users saw with its reports to the master, which appends it
to the file that ``FILE_VARIABLE`` names: the fields of ``journal.ClientRequest``, one JSON list a
line. Locust without workers writes it as it comes.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import time
from collections.abc import Callable
from typing import Any, cast

from locust import events
from locust.clients import HttpSession
from locust.contrib.fasthttp import FastHttpSession

from seism.experiment.locust import FILE_VARIABLE
from seism.journal import COMPLETE, CUT, NOTHING, REFUSED, TIMED_OUT
from seism_middleware.contract import CLIENT_HEADER

_ID, _AT = "seism_request", "seism_at"
"""Keys of the context of a request."""
_KEY = "seism_clients"
"""Key of what a worker reports."""

_numbers = itertools.count(1)
_seen: list[list[Any]] = []


def _identified(request: Callable[..., Any]) -> Callable[..., Any]:
    """``request`` of a session, which sends an id and remembers when."""

    @functools.wraps(request)
    def identified(
        session: Any, method: Any, url: Any, *args: Any, context: Any = None, **more: Any
    ) -> Any:
        # A process that was forked has an id of its own.
        key = f"{_run(os.getpid())}-{next(_numbers)}"
        more["headers"] = {**(more.get("headers") or {}), CLIENT_HEADER: key}
        context = {**(context or {}), _ID: key, _AT: time.monotonic()}
        return request(session, method, url, *args, context=context, **more)

    return identified


@functools.lru_cache
def _run(pid: int) -> str:
    return os.urandom(4).hex()


def _ended(
    request_type: str,
    name: str,
    response_time: float,
    context: dict[str, Any],
    exception: BaseException | None = None,
    response: Any = None,
    **_: Any,
) -> None:
    """A request is over, as ``locust.event.Events.request`` says."""
    key = (context or {}).get(_ID)
    if key is None:
        return
    status = _status(response)
    ended = COMPLETE if status is not None else _ending(exception)
    if status is not None and _type_name(exception) in _BROKEN:
        ended = CUT
    seconds = max(0.0, time.monotonic() - context[_AT])
    _seen.append([key, f"{request_type} {name}", context[_AT], seconds, ended, status])


_BROKEN = ("ChunkedEncodingError", "ContentDecodingError", "HTTPParseError")


def _status(response: Any) -> int | None:
    """Of the first response, where redirects were followed: they were sent under the same id."""
    history = getattr(response, "history", None)
    first = history[0] if history else response
    return getattr(first, "status_code", 0) or None


def _ending(exception: BaseException | None) -> str:
    said = f"{_type_name(exception)} {exception}"
    if "Timeout" in said or "timed out" in said:
        return TIMED_OUT
    return REFUSED if "refused" in said.lower() else NOTHING


def _type_name(exception: BaseException | None) -> str:
    return type(exception).__name__ if exception is not None else ""


def _report(client_id: str, data: dict[str, Any]) -> None:
    """A worker's report to the master takes what its users saw along."""
    data[_KEY] = _seen[:]
    _seen.clear()


def _reported(client_id: str, data: dict[str, Any]) -> None:
    _write(data.pop(_KEY, ()))


def _write(rows: Any) -> None:
    path = os.environ.get(FILE_VARIABLE)
    if path and rows:
        with open(path, "a", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)


def _quit(**_: Any) -> None:
    """Of a Locust without a master, or what a worker has not reported any more."""
    _write(_seen)
    _seen.clear()


def install(**_: Any) -> None:
    """Locust has parsed its command line: from now on its sessions are ours."""
    for session in (HttpSession, FastHttpSession):
        setattr(session, "request", _identified(session.request))  # noqa: B010
    # Its hooks have no types.
    hooks: Any = events
    hooks.request.add_listener(_ended)
    hooks.report_to_master.add_listener(_report)
    hooks.worker_report.add_listener(_reported)
    hooks.quitting.add_listener(_quit)
    hooks.quit.add_listener(_quit)  # some end while it quits


cast(Any, events).init.add_listener(install)
