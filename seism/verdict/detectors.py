"""The detectors that look at answers, in the order in which they are asked."""

from __future__ import annotations

from seism.verdict.content import ContentDetector
from seism.verdict.detector import Detected, Detector
from seism.verdict.health_check import HealthCheckDetector
from seism.verdict.hidden_exception import HiddenExceptionDetector
from seism.verdict.odd_answer import OddAnswerDetector
from seism.verdict.rules import Rules
from seism.verdict.steady_state import ControlRun
from seism.verdict.step import StepWindow
from seism.verdict.timeline import Timeline
from seism.verdict.unused_backend import UnusedBackendDetector
from seism.verdict.work import WorkDetector

DETECTORS: tuple[type[Detector], ...] = (
    OddAnswerDetector,
    ContentDetector,
    HiddenExceptionDetector,
    UnusedBackendDetector,
    HealthCheckDetector,
    WorkDetector,
)


class Detectors:
    """All of them, for one journal."""

    def __init__(self, timeline: Timeline, control: ControlRun, rules: Rules) -> None:
        self._all = [detector(timeline, control, rules) for detector in DETECTORS]

    def of(self, step: StepWindow) -> Detected:
        """What they say of ``step``."""
        return Detected(told for detector in self._all for told in detector.told(step))
