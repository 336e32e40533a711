from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.exchanges import ARMED, DIRECT, FOLLOWED, PLAIN
from bench.statements import CASES, main


@pytest.mark.timeout(120)
def test_it_measures_what_the_protocol_costs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--rounds", "1", "--transactions", "80", "--json", str(tmp_path / "out.json")])
    found = json.loads((tmp_path / "out.json").read_text())
    assert set(found) == set(CASES)
    for figures in found.values():
        assert set(figures) == {DIRECT, PLAIN, FOLLOWED, ARMED}
        assert all(value > 0 for values in figures.values() for value in values)
    assert "SELECTs/s" in capsys.readouterr().out
