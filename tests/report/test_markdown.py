"""The Markdown page: what it says, and that nothing in it is markup that we did not write."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from markdown_it import MarkdownIt

from seism.report.markdown import code, render
from seism.verdict.result import Judgement
from tests.report import known
from tests.report.test_text import ANYTHING

MARKDOWN = MarkdownIt("gfm-like", {"linkify": False})


@pytest.mark.parametrize("judgement", known.ALL.values(), ids=known.ALL)
def test_it_is_a_page_without_foreign_markup(judgement: Judgement) -> None:
    page = MARKDOWN.render(render(judgement))
    tags = set(re.findall(r"<(/?\w+)", page))
    allowed = {"h2", "table", "thead", "tbody", "tr", "th", "td", "p", "strong", "ul", "li", "code"}
    assert {tag.lstrip("/") for tag in tags} <= allowed | {"br"}


def test_what_went_wrong_is_told() -> None:
    text = render(known.mixed())
    assert "🔴 red** `POST /cart answers 500 when cache resets a connection (" in text
    assert "hit by p-12" in text
    assert "`shop/cart.py:41 show`)" in text
    assert "possibly harmed by p-31" in text
    page = MARKDOWN.render(text)
    assert page.count("<tr>") == 1 + len(known.mixed().routes)


@pytest.mark.parametrize("number", [3, 12, 60])
def test_the_table_has_at_most_ten_columns(number: int) -> None:
    """Where the perturbations are more, a column is a backend, and has its worst colour."""
    text = render(known.wide(number))
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + len(known.ROUTES)
    assert all(row.replace("\\|", "").count("|") - 1 <= 10 for row in rows)
    (cart,) = (row for row in rows if "POST /cart" in row)
    assert cart.count("🔴") == 1
    assert text.count("\n") < 60


@given(ANYTHING)
def test_any_text_is_one_code_span(text: str) -> None:
    page = MARKDOWN.render(f"x {code(text)} y")
    assert page.count("<code>") == bool(code(text))
    assert re.sub(r"<code>.*</code>", "", page, flags=re.DOTALL).split() == ["<p>x", "y</p>"]
