"""The detectors that look at answers, in the order in which they are asked."""

from __future__ import annotations

from seism.verdict.detector import Detected, Detector
from seism.verdict.odd_answer import odd_answers
from seism.verdict.rules import Rules
from seism.verdict.steady_state import ControlRun
from seism.verdict.step import StepWindow

DETECTORS: tuple[Detector, ...] = (odd_answers,)


def detect(step: StepWindow, control: ControlRun, rules: Rules) -> Detected:
    """What they say of ``step``."""
    return Detected(told for detector in DETECTORS for told in detector(step, control, rules))
