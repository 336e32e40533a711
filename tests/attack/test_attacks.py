"""The attacks, briefly: nothing hangs, nobody is turned away, the sidecar ends in order."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.attack import codec
from tests.attack.run import ATTACKS, attacked


@pytest.mark.parametrize("name", ATTACKS)
def test_bystanders_are_served(tmp_path: Path, name: str) -> None:
    seen, _ = attacked(ATTACKS[name], 1, tmp_path)
    assert not seen.failures
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_growth_with_the_square_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "SIZES", (4_000, 8_000, 16_000))
    monkeypatch.setattr(codec, "_seconds", lambda _, turns, __: sum(len(d) for _, d in turns) ** 2)
    assert all(each.exponent > 1.8 for each in codec.growths("smtp"))
    monkeypatch.setattr(codec, "_seconds", lambda _, turns, __: sum(len(d) for _, d in turns))
    assert all(each.exponent <= codec.EXPONENT for each in codec.growths("smtp"))
