from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.app import WAYS, chosen, main


def test_a_part_is_chosen_by_words_of_each_kind() -> None:
    only = ["uvicorn", "asyncpg", "nothing", "10", "0", "pinned"]
    assert [str(case) for case in chosen(only)] == [
        "uvicorn, nothing, pinned",
        "uvicorn, 10 x asyncpg, pinned",
    ]
    with pytest.raises(SystemExit, match=r"--only: unknown: psycopg4"):
        chosen(["waitress", "psycopg4"])


@pytest.mark.timeout(120)
def test_it_measures_what_the_observer_costs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.json"
    only = "waitress,psycopg2,10,unpinned"
    main(["--rounds", "1", "--seconds", "0.1", "--only", only, "--json", str(out)])
    ((name, samples),) = json.loads(out.read_text())["results"].items()
    assert name == "waitress, 10 x psycopg2"
    for figure in samples.values():
        assert set(figure) == set(WAYS)
    assert all(value > 0 for (value,) in samples["CPU"].values())
    said = capsys.readouterr().out
    assert "all - proxied" in said
    assert "all/proxied" in said
