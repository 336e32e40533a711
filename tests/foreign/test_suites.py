"""The registry of the suites that others wrote, and the table of what they came to."""

from __future__ import annotations

from tests.foreign.suites import registry, table


def test_the_registry_names_exact_versions() -> None:
    suites = registry()
    assert len(suites) >= 4
    assert len({suite.package for suite in suites}) == len(suites)
    for suite in suites:
        assert suite.version[0].isdigit()
        assert set(suite.backends.values()) <= {"postgresql", "redis"}
        assert set(suite.ports) <= set(suite.backends)


def test_a_row_has_the_figures() -> None:
    row = {
        "tests": {"all": 40, "perturbed": 9, "saved": 30},
        "perturbations": 120,
        "cells": {"red": 3, "amber": 2, "green": 90, "unsure": 0},
        "found": ["GET /x answers 500"],
        "seconds": 61,
        "commit": "abc",
    }
    line = table({"package 1.0": row}).splitlines()[-1]
    assert line == "| package 1.0 | 40 | 9 | 30 | 120 | 3, 2, 90 | 1 | 61 s | abc |"
