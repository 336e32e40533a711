"""What a step of GitHub Actions prints."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given

from seism.report.github import MOST, _data, _property, commands, tell
from seism.verdict.result import Judgement
from tests.report import known
from tests.report.test_text import ANYTHING


@pytest.mark.parametrize("judgement", known.ALL.values(), ids=known.ALL)
def test_each_line_is_one_command(judgement: Judgement) -> None:
    lines = list(commands(judgement))
    for line in lines:
        assert re.match("::(error|warning|notice) (file=[^,:]+,line=[0-9]+,)?title=", line)
        assert "\n" not in line and "\r" not in line
        title = line.partition("title=")[2].partition("::")[0]
        assert ":" not in title and "," not in title
    for kind in ("error", "warning", "notice"):
        assert sum(line.startswith(f"::{kind}") for line in lines) <= MOST


def test_red_is_an_error_with_its_cause() -> None:
    text = "\n".join(commands(known.mixed()))
    (line,) = [each for each in text.splitlines() if "POST /cart" in each]
    assert line.startswith(
        "::error file=shop/cart.py,line=41,title=POST /cart answers 500 when cache resets a "
        "connection (ConnectionError)::at shop/cart.py:41 show%0Ared: POST /cart under cache-"
    )
    assert "%0Ahit by p-12" in line
    assert sum(each.startswith("::error") for each in commands(known.mixed(), strict=True)) > (
        sum(each.startswith("::error") for each in commands(known.mixed()))
    )
    assert list(commands(known.green())) == []


def test_only_there(tmp_path: Path) -> None:
    page = tmp_path / "summary"
    there = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(page)}
    assert list(tell(known.mixed(), False, {})) == []
    assert list(tell(known.mixed(), False, there)) == list(commands(known.mixed()))
    assert page.read_text(encoding="utf-8").startswith("## Seism: Red")


@given(ANYTHING)
def test_any_text_stays_in_its_place(text: str) -> None:
    assert not {"\n", "\r"} & set(_data(text))
    assert not {"\n", "\r", ":", ","} & set(_property(text))
