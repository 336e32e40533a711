"""Observes the jobs of an RQ worker: ``observe()`` in its process, before its first job.

Each execution is a job (``seism_middleware.jobs``) of the function's name, until the worker has
told Redis what came of it. One that fails with retries left has failed cleanly.
"""

from __future__ import annotations

import functools
from contextvars import ContextVar
from typing import Any

from seism_middleware.jobs import AGAIN, DONE, FAILED, Execution, flush

_running: ContextVar[Execution | None] = ContextVar("seism_rq", default=None)
_originals: list[tuple[Any, str, Any]] = []
"""(class, name, the original) of what is patched now."""


def observe() -> None:
    """Observe the jobs of this process's workers; may be repeated."""
    from rq.worker import Worker

    for name, wrap in () if _originals else PATCHES.items():
        owner = next(cls for cls in Worker.__mro__ if name in vars(cls))
        _originals.append((owner, name, vars(owner)[name]))
        setattr(owner, name, wrap(vars(owner)[name]))


def release() -> None:
    """Observe them no longer."""
    while _originals:
        setattr(*_originals.pop())


def _performed(original: Any) -> Any:
    @functools.wraps(original)
    def perform_job(self: Any, job: Any, *args: Any, **kwargs: Any) -> Any:
        again = AGAIN if job.retries_left else FAILED  # fewer are left once it has failed
        execution = Execution(job.func_name)
        token = _running.set(execution)
        try:
            done = original(self, job, *args, **kwargs)
            execution.end(DONE if done else again)
            return done
        except BaseException as error:
            execution.end(FAILED, error)
            raise
        finally:
            _running.reset(token)
            if self.is_horse:
                flush()  # a process of its own, which ends without any clean-up

    return perform_job


def _raised(original: Any) -> Any:
    @functools.wraps(original)
    def handle_exception(self: Any, job: Any, *exc_info: Any) -> Any:
        execution = _running.get()
        if execution is not None and len(exc_info) == 3:
            execution.raised(exc_info[1])
        return original(self, job, *exc_info)

    return handle_exception


PATCHES = {"perform_job": _performed, "handle_exception": _raised}
"""Method of a worker -> what is put around it."""
