"""The bounded part of CPython's own tests; ``make cpython`` runs all of it."""

from __future__ import annotations

import pytest

from tests.cpython import run

pytestmark = pytest.mark.skipif(bool(run.missing()), reason=run.missing() or "present")


@pytest.mark.timeout(240)
@pytest.mark.parametrize("faulty", [False, True])
@pytest.mark.parametrize("module", run.QUICK)
def test_as_well_with_the_patches_as_without(module: str, faulty: bool) -> None:
    without, found = run.compare(module, faulty)
    assert sum(outcome == "ok" for outcome in without.values()) >= 5
    assert found == []


def test_a_difference_is_seen() -> None:
    assert run.different({"a": "ok", "b": "ok"}, {"a": "ok", "b": "failed"}) == [
        "b: ok without, failed with"
    ]
    assert run.different({"a": "ok"}, {}) == ["a: ok without, not run with"]
