"""``make docs``: what it makes is whole, and fits the paper."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from pypdf import PdfReader

from tests.docs.pages import PAGES, blocks, name
from tests.processes import ROOT

pytestmark = [
    pytest.mark.debian(
        "libpango-1.0-0", "libpangoft2-1.0-0", "libharfbuzz-subset0", "fonts-dejavu-core"
    ),
    # The first one makes the manual, half a minute of work that others may slow down.
    pytest.mark.timeout(300),
]
COLUMNS = 88


class _Page(HTMLParser):
    """The ids, the links and the code of a page of HTML."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.code: list[str] = []
        self._in_code = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {key: value or "" for key, value in attrs}
        self.ids.add(found.get("id", ""))
        self.links += [found[key] for key in ("href", "src") if key in found]
        if tag == "pre":
            self._in_code = True
            self.code.append("")

    def handle_endtag(self, tag: str) -> None:
        self._in_code = self._in_code and tag != "pre"

    def handle_data(self, data: str) -> None:
        if self._in_code:
            self.code[-1] += data


def broken(folder: Path) -> Iterator[str]:
    """The internal links of the pages in ``folder`` that lead nowhere."""
    pages = {
        path: _Page(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.html"))
    }
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            there = target.exists() and (
                not parts.fragment
                or target not in pages
                or unquote(parts.fragment) in pages[target].ids
            )
            if not there:
                yield f"{path.relative_to(folder)}: {link}"


def too_long(code: str) -> list[str]:
    return [line for line in code.splitlines() if len(line) > COLUMNS]


def titles(outline: list[Any]) -> Iterator[tuple[int, str]]:
    """The headings of an outline with their depths."""

    def walk(items: list[Any], depth: int) -> Iterator[tuple[int, str]]:
        for item in items:
            if isinstance(item, list):
                yield from walk(item, depth + 1)
            else:
                yield depth, item.title

    return walk(outline, 0)


def test_every_internal_link_leads_somewhere(manual: Path) -> None:
    assert len(list((manual / "html").rglob("*.html"))) > 20
    assert list(broken(manual / "html")) == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<a href="b.html#x"><a href="b.html#y"><a href="c.html"><a href="#z"><p id="z">'
        '<a href="https://elsewhere.example/#q">'
    )
    (tmp_path / "b.html").write_text('<p id="x">')
    assert list(broken(tmp_path)) == ["a.html: b.html#y", "a.html: c.html"]


def test_the_pdf_has_an_outline(pdf: Path) -> None:
    reader = PdfReader(pdf)
    found = list(titles(reader.outline))
    shown = {title for _, title in found}
    for page in PAGES:
        if page.parent != ROOT:
            heading = re.search(r"^# (.*)", page.read_text(encoding="utf-8"), re.MULTILINE)
            if heading is not None:
                assert heading[1].replace("`", "").replace("'", "\u2019") in shown, name(page)
    assert max(depth for depth, _ in found) >= 2
    # Headings of one name are places of their own: pages have more than one "Limits".
    limits = [
        (reader.get_destination_page_number(item), item.top)
        for item in _all(reader.outline)
        if item.title == "Limits"
    ]
    assert len(set(limits)) == len(limits) > 1


def _all(outline: list[Any]) -> Iterator[Any]:
    for item in outline:
        yield from _all(item) if isinstance(item, list) else (item,)


def test_every_link_of_the_pdf_leads_somewhere(manual: Path) -> None:
    linked: Callable[[str], str] = runpy.run_path(str(ROOT / "docs" / "pdf.py"))["linked"]
    page = (manual / "single" / "index.html").read_text(encoding="utf-8")
    assert linked(page).count('href="#') > 100


def test_no_code_of_the_pdf_is_wider_than_its_page(manual: Path) -> None:
    code = _Page((manual / "single" / "index.html").read_text(encoding="utf-8")).code
    assert len(code) > 50
    assert [line for each in code for line in too_long(each)] == []


@pytest.mark.parametrize("page", PAGES[1:], ids=name)
def test_no_code_of_a_page_is_too_wide(page: Path) -> None:
    for block in blocks(page.read_text(encoding="utf-8")):
        assert too_long(block.text) == [], f"{name(page)}:{block.line}"


def test_a_line_too_many_is_found() -> None:
    assert too_long("x" * COLUMNS) == []
    assert too_long(f"short\n{'x' * (COLUMNS + 1)}\n") == ["x" * (COLUMNS + 1)]


def test_in_one_page_ids_stay_those_of_their_pages() -> None:
    linked: Callable[[str], str] = runpy.run_path(str(ROOT / "docs" / "pdf.py"))["linked"]
    page = '<span id="document-{0}"></span><h2 id="limits"></h2><a href="{1}"></a>'
    made = linked(page.format("a", "#document-b#limits") + page.format("b", "#limits"))
    assert re.findall(r'href="(.*?)"', made) == ["#b:limits", "#b:limits"]
    assert re.findall(r'id="(.*?)"', made) == ["a:", "a:limits", "b:", "b:limits"]
    with pytest.raises(LookupError, match="b:nothing"):
        linked(page.format("a", "#document-b#nothing") + page.format("b", "#limits"))
