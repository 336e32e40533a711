"""``report.html`` in a browser: what is on the first screen, and that nothing overlaps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from seism.report.html import render
from seism.verdict.result import Judgement
from tests.report import known

SIZES = {"wide": (1400, 900), "tablet": (800, 900), "phone": (390, 844)}
REPLAY = "seism replay seism-report/journal.jsonl"

CROSSED = """() => {
  const wrong = [];
  const blocks = [...document.querySelectorAll(
    "header, main > section, .story > summary, .story .body > *, article > *")]
    .filter(each => each.checkVisibility() && each.getBoundingClientRect().height > 0);
  for (const one of blocks) {
    const box = one.getBoundingClientRect();
    if (box.right > innerWidth + 1 || box.left < -1)
      wrong.push("runs out: " + one.outerHTML.slice(0, 80));
    for (const other of blocks) {
      if (one === other || one.contains(other) || other.contains(one)) continue;
      const near = other.getBoundingClientRect();
      const width = Math.min(box.right, near.right) - Math.max(box.left, near.left);
      const height = Math.min(box.bottom, near.bottom) - Math.max(box.top, near.top);
      if (width > 1 && height > 1) wrong.push("crosses: " + one.outerHTML.slice(0, 80));
    }
  }
  return wrong;
}"""
"""What runs out of the page, and what lies over something else."""


def opened(
    chromium: Browser, folder: Path, judgement: Judgement, size: str, dark: bool = False
) -> Page:
    file = folder / "report.html"
    file.write_text(render(replace(judgement, replay=REPLAY)), encoding="utf-8")
    width, height = SIZES[size]
    page = chromium.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
        bypass_csp=True,  # for the script that looks for faults of accessibility
    ).new_page()
    page.goto(file.as_uri())
    return page


@pytest.mark.parametrize(
    ("size", "dark", "number"),
    [("wide", False, 300), ("tablet", True, 300), ("phone", False, 300), ("phone", True, 6)],
)
def test_the_matrix_is_on_the_first_screen_and_nothing_overlaps(
    chromium: Browser, tmp_path: Path, size: str, dark: bool, number: int
) -> None:
    page = opened(chromium, tmp_path, known.wide(number), size, dark)
    height = SIZES[size][1]
    table = page.locator(".matrix").bounding_box()
    assert table is not None
    assert table["y"] < height / 2
    whole: Any = page.evaluate("[document.documentElement.scrollHeight, scrollX, innerWidth, "
                               "document.documentElement.scrollWidth]")  # fmt: skip
    assert whole[0] <= 10 * height
    assert whole[3] <= whole[2]
    assert page.evaluate(CROSSED) == []
    unfold(page)
    assert page.evaluate(CROSSED) == []
    page.context.close()


@pytest.mark.parametrize(
    ("size", "dark", "number"),
    [("wide", False, 36), ("tablet", True, 36), ("phone", False, 36), ("phone", True, 6)],
)
def test_it_can_be_read_by_everybody(
    chromium: Browser, tmp_path: Path, axe: str, size: str, dark: bool, number: int
) -> None:
    """With few perturbations: the checker takes its time for each cell, and most are alike."""
    page = opened(chromium, tmp_path, known.wide(number), size, dark)
    unfold(page)
    page.evaluate(axe)
    faults = page.evaluate("async () => (await axe.run()).violations")
    assert [each["id"] for each in faults if each["impact"] in ("serious", "critical")] == []
    page.context.close()


def unfold(page: Page) -> None:
    page.locator("details").evaluate_all("all => all.forEach(each => each.open = true)")


def test_names_stay_while_the_matrix_scrolls(chromium: Browser, tmp_path: Path) -> None:
    page = opened(chromium, tmp_path, known.wide(60), "phone")
    route = page.locator(".matrix tbody th").first
    before = route.bounding_box()
    page.locator(".tall").evaluate("box => box.scrollBy(2000, 0)")
    after = route.bounding_box()
    assert before is not None
    assert after is not None
    assert after["x"] == before["x"]
    assert page.evaluate("scrollX") == 0
    page.context.close()


def test_a_red_cell_leads_to_its_weakness(chromium: Browser, tmp_path: Path) -> None:
    page = opened(chromium, tmp_path, known.mixed(), "wide")
    page.locator(".matrix td a").last.click()
    body = page.locator(".story .body:target")
    expect(body).to_be_visible()
    expect(body).to_contain_text("Send Retry-After with the 503")
    expect(body).to_contain_text(f"{REPLAY} --only cache-down --route 'GET /session'")
    page.context.close()


def test_on_paper_nothing_is_folded(chromium: Browser, tmp_path: Path) -> None:
    page = opened(chromium, tmp_path, known.mixed(), "wide")
    page.emulate_media(media="print")
    folded = page.locator("details:not([open])").first.locator("> :not(summary)").first
    assert (folded.bounding_box() or {"height": 0})["height"] > 0
    page.context.close()
