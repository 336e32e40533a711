"""The matrix of a real sweep, as a person sees it in the report's page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser import page
from tests.dashboard.test_page import serious
from tests.dashboard.test_screenshots import folder
from tests.test_cli import Seism, cache, seism

__all__ = ["cache", "seism"]

pytestmark = [pytest.mark.debian("chromium"), pytest.mark.timeout(300)]

SWEEP = """\
[sweep]
repeat = 2
after = 4
[[sweep.toxic]]
name = "slow"
type = "latency"
attributes = { latency = 100 }
[[sweep.toxic]]
name = "reset"
type = "reset_peer"
[[sweep.toxic]]
name = "down"
type = "down"
"""


def test_the_matrix_of_a_sweep(seism: Seism, tmp_path: Path, chromium: Browser, axe: str) -> None:
    seism.experiment("/", "/weak", "/mute", "/idle", more=SWEEP)
    done = seism.run("sweep", "--without", "slow")
    assert done.code == 1, done.err
    reports = tmp_path / "seism-report"
    verdicts = json.loads((reports / "report.json").read_text())["matrix"]
    with page(chromium, (reports / "timeline.html").as_uri()) as opened:
        expect(opened.locator("#verdict")).to_contain_text("Red: 1 of 4 routes breaks")
        seen = opened.evaluate(
            """() => [...document.querySelectorAll("#tried .cell")].map((cell) => [
              cell.closest("tr").firstChild.textContent, cell.dataset.cell,
              cell.lastChild.textContent.replace(/^exchange \\d+: /, "")])"""
        )
        found: dict[str, dict[str, str]] = {}
        for route, perturbation, colour in seen:
            found.setdefault(route, {})[perturbation] = colour
        assert found == verdicts
        shapes = opened.evaluate(
            """() => Object.fromEntries([...document.querySelectorAll("#tried .cell")].map(
              (cell) => [cell.lastChild.textContent.replace(/^exchange \\d+: /, ""),
                         cell.firstChild.textContent]))"""
        )
        assert shapes == {"green": "●", "amber": "▲", "red": "✗", "not covered": "\N{EN DASH}"}
        opened.locator("#tried .cell.red").first.click()
        detail = opened.locator("#detail")
        expect(detail).to_contain_text("GET /weak under cache")
        expect(detail).to_contain_text("exact, evidence:")
        opened.locator("#verdicts").scroll_into_view_if_needed()
        opened.screenshot(path=folder(tmp_path) / "sweep.png")
        opened.locator('#tried .cell[data-cell="cache slow #1"]').first.click()
        expect(detail).to_contain_text("GET / under cache slow #1not covered")
        assert serious(opened, axe) == []
