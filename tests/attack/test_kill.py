"""Each process of a run is killed once; ``make kills`` does it a hundred times."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.attack.kill import ROLES, kill
from tests.test_cli import cache

__all__ = ["cache"]


@pytest.mark.parametrize("role", ROLES)
def test_a_killed_process_leaves_nothing(tmp_path: Path, cache: str, role: str) -> None:
    found = kill(role, 0.3, tmp_path, cache)
    assert found.wrong == ()
    assert found.code != 0
