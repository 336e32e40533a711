from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings

from seism.report.html import render
from seism.verdict.result import Judgement
from tests.report import known
from tests.report.test_text import ANYTHING

VOID = {"meta", "path", "circle", "use", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """What a browser would make of a page, as far as these tests want to know."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.style = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "style":
            self.style += data
        else:
            self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def page(judgement: Judgement) -> Page:
    return Page(render(judgement))


def structure(page: Page) -> list[tuple[str, tuple[str, ...]]]:
    """Elements and the names of their attributes."""
    return [(tag, tuple(attrs)) for tag, attrs in page.tags]


def check_safe(page: Page) -> None:
    """Nothing is loaded and nothing runs."""
    for tag, attrs in page.tags:
        assert tag not in {"script", "iframe", "object", "embed", "link", "base", "form", "img"}
        for name, value in attrs.items():
            assert not name.startswith("on") and name not in {"style", "src", "srcset", "data"}
            if "href" in name:
                assert re.fullmatch(r"#[a-z0-9-]+", value or "")
    assert not re.search(r"url\(|@import|https?:", page.style)


@pytest.mark.parametrize("name", known.ALL)
def test_nothing_is_loaded_and_nothing_runs(name: str) -> None:
    check_safe(page(known.ALL[name]))


@pytest.mark.parametrize("text", ["<script>", "<b onclick=x>", "<img src=/x>", "<a href=http://x>"])
def test_the_check_sees_what_is_not_escaped(text: str) -> None:
    document = render(known.green()).replace("</main>", f"{text}</{text[1:].split('>')[0]}></main>")
    with pytest.raises(AssertionError):
        check_safe(Page(document))


@settings(max_examples=30, deadline=None)
@given(ANYTHING)
def test_no_text_changes_the_page(text: str) -> None:
    """Whatever a route holds, the elements are those of a harmless one."""
    hostile = page(known.hostile("x" + text))
    check_safe(hostile)
    assert structure(hostile) == structure(page(known.hostile("harmless")))


def test_the_policy_allows_the_style_sheet_and_nothing_else() -> None:
    shown = page(known.mixed())
    policy = next(
        attrs["content"]
        for tag, attrs in shown.tags
        if attrs.get("http-equiv") == "Content-Security-Policy"
    )
    digest = base64.b64encode(hashlib.sha256(shown.style.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def test_links_lead_to_what_they_name() -> None:
    tags = page(known.mixed()).tags
    ids = [attrs["id"] for _, attrs in tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    links = [attrs["href"] or "" for tag, attrs in tags if tag == "a"]
    assert {link.removeprefix("#") for link in links} <= set(ids)
    assert len([link for link in links if link.startswith("#weakness-")]) == 3


def test_a_person_finds_the_verdict_the_cause_and_the_log() -> None:
    words = page(known.mixed()).words
    for part in (
        "Red: 2 of 5 routes break, under 2 of 6 perturbations.",
        "POST /cart answers 500 when cache resets a connection (ConnectionError)",
        "POST /cart under cache-reset : 500 without an honest 503",
        "exact hit by p-12, known by ledger .",
        "possible possibly harmed by p-31, known by overlap : in time, not proven.",
        "redis.exceptions.ConnectionError could not read cart",
        "--seed 7",
        "latency 900",
        "the worker is blind for uvloop",
    ):
        assert part in words, part


def test_gaps_are_prominent() -> None:
    """In the headline, and open below the matrix, which is on the first screen."""
    words = page(known.gappy()).words
    assert words.index("1 perturbation never fired") < words.index("Route by perturbation")
    assert words.index("3 observations dropped") < words.index("Route by perturbation")
    folded = render(known.gappy()).partition("<details")[0]
    assert "Never fired (1)" in folded
    assert "The plan" not in folded


def test_without_a_steady_state_there_is_no_table() -> None:
    words = page(known.unsteady()).words
    assert "GET /session answers 500 to 31 of 96 requests" in words
    assert "Route by perturbation" not in words


def test_colour_is_never_alone() -> None:
    """Each coloured mark has its word beside it."""
    shown = page(known.mixed())
    chips = [attrs for tag, attrs in shown.tags if (attrs.get("class") or "").startswith("chip")]
    assert len(chips) >= len(known.mixed().cells)
    for colour in ("red", "amber", "green", "not covered"):
        assert colour in shown.words


def test_harm_is_named() -> None:
    words = page(known.harmed()).words
    assert "lost under database-down: 1 of the 4 connections of worker w1" in words
    assert "w1-8 was possibly answered with a reply to w1-7 (possible, evidence: ledger)" in words
    assert "4 connections before, 4 after;" in words
    assert "memory +0.1 MB per 100 requests; CPU 1.2 times the control run's" in words
