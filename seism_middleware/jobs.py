"""Executions of background jobs, observed as requests are: ``with job("shop.tasks.mail"): ...``.

A job is a request of the method ``contract.JOB`` whose route is its name.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import Token

from seism_middleware.contract import BODY_COMPLETE, JOB
from seism_middleware.settings import LazyObserver, Settings
from seism_middleware.traffic import Request, current, leave

DONE, AGAIN, FAILED = 200, 503, 500
INTERFACE = "job"

_lazy = LazyObserver(Settings())


class Execution:
    """One execution of a job; ``outcome`` is told once, and nothing is, without a sidecar."""

    __slots__ = ("_observer", "_token", "request")

    def __init__(self, name: str) -> None:
        self._observer = _lazy.get(INTERFACE)
        self.request: Request | None = None
        self._token: Token[Request | None] | None = None
        if self._observer is None or current.get() is not None:
            return
        self.request = self._observer.begin(JOB, f"/{name}")
        self.request.route = name
        self._token = current.set(self.request)

    def raised(self, error: BaseException) -> None:
        """The job's own code has raised ``error``."""
        if self.request is not None and not self.request.exception:
            self.request.raised(error)

    def end(self, status: int, error: BaseException | None = None) -> None:
        """It has ended; a second call changes nothing."""
        if error is not None:
            self.raised(error)
        request, self.request = self.request, None
        if request is None or self._observer is None:
            return
        request.status = status
        request.body = BODY_COMPLETE
        request.retry_after = status == AGAIN
        if self._token is not None:
            leave(self._token)
        self._observer.finish(request)


def flush() -> None:
    """Send what has not been sent, before a process ends that cleans nothing up."""
    observer = _lazy.get(INTERFACE)
    if observer is not None:
        observer.stream.close()


@contextmanager
def job(name: str) -> Iterator[Execution]:
    """Observe what is done within as one execution of the job ``name``."""
    execution = Execution(name)
    try:
        yield execution
    except BaseException as error:
        execution.end(FAILED, error)
        raise
    execution.end(DONE)
