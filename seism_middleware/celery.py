"""Observes the tasks of a Celery worker: ``observe()`` where the Celery app is made.

Each execution is a job (``seism_middleware.jobs``) of the task's name. A task that asks to be
retried has failed cleanly.
"""

from __future__ import annotations

from typing import Any

from seism_middleware.jobs import AGAIN, DONE, FAILED, Execution

STATES = {"SUCCESS": DONE, "IGNORED": DONE, "RETRY": AGAIN, "REJECTED": AGAIN}
"""Celery's state after a task -> what came of it; it has failed after any other."""

_running: dict[str, Execution] = {}
"""By the task's id."""


def observe() -> None:
    """Observe the tasks of this process, and of those that it starts; may be repeated."""
    from celery import signals

    signals.task_prerun.connect(_begun, weak=False)
    signals.task_postrun.connect(_ended, weak=False)


def release() -> None:
    """Observe them no longer."""
    from celery import signals

    signals.task_prerun.disconnect(_begun)
    signals.task_postrun.disconnect(_ended)


def _begun(task_id: str, task: Any, **_: Any) -> None:
    _running[task_id] = Execution(task.name)


def _ended(task_id: str, state: str | None = None, retval: Any = None, **_: Any) -> None:
    execution = _running.pop(task_id, None)
    if execution is not None:
        error = retval if isinstance(retval, BaseException) else None
        execution.end(STATES.get(state or "", FAILED), error)
