"""An app that is started while a backend is away: orchestrators start both at once, in no order.

An app may wait for the backend, or serve without it; once the backend is there, each route must be
as in the control run. The incidents that it imitates are apps that exit, and apps that serve and
never connect.
"""

from __future__ import annotations

from typing import Any

from seism.experiment.perturbation import COLD_START_S
from seism.experiment.plan import Step
from seism.experiment.session import Session

SLOWER = 2
"""How much longer than usual an app may take to start, in usual starts."""


def drive(session: Session, step: Step, during: float, after: float) -> dict[str, Any]:
    """Start the app within ``step``, and send; the aftershock's totals.

    Empty: the app has ended, or does not answer. It is journalled, and needs another start.
    """
    name = step.planned.name
    session.phase("warmup", step.index)
    session.end_app()
    session.phase("during", step.index, name)
    away_s = step.planned.lasting or COLD_START_S
    driven: dict[str, Any] = {}
    with session.perturbed(step):
        # However slow the machine, the app must have come to its first connect by then.
        answers = session.start_app_cold(away_s + SLOWER * session.started_in_s)
        if answers:
            driven = session.drive(f"{name}: during", during, least_s=away_s)
            session.control.census()
    session.settle(driven)
    session.phase("after", step.index, name)
    if not answers and not session.await_cold_app():
        session.app_is_gone(step.index, silent=True)
        return {}
    driven = session.aftershock(f"{name}: after", after)
    return {} if session.app_is_gone(step.index, driven) else driven
