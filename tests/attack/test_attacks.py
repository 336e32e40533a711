"""The attacks, briefly: nothing hangs, nobody is turned away, the sidecar ends in order."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.attack.run import ATTACKS, attacked


@pytest.mark.parametrize("name", ATTACKS)
def test_bystanders_are_served(tmp_path: Path, name: str) -> None:
    seen, _ = attacked(ATTACKS[name], 1, tmp_path)
    assert not seen.failures
    assert "Traceback" not in (tmp_path / "log").read_text()
