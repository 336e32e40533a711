from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.codecs import TOOLS, WAYS, main
from bench.contestants import DIRECT


@pytest.mark.debian("redis-tools")
@pytest.mark.timeout(120)
def test_it_measures_what_a_protocol_costs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--rounds", "1", "--seconds", "0.1", "--json", str(tmp_path / "out.json")])
    found = json.loads((tmp_path / "out.json").read_text())["results"]
    assert set(found) == {tool.name for tool in TOOLS}
    for rates, processor in (samples.values() for samples in found.values()):
        assert set(rates) == set(WAYS)
        assert set(processor) == {*WAYS} - {DIRECT}
        assert all(value > 0 for each in (rates, processor) for (value,) in each.values())
    said = capsys.readouterr().out
    assert "redis-benchmark GET: requests/s" in said
    assert "armed/plain" in said
