"""The pictures of docs/dashboard.md, which ``make screenshots`` puts there."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from seism.dashboard.standalone import render
from seism.journal import read
from seism.verdict.result import Judgement, Steady
from tests.browser import page
from tests.stage import Stage

pytestmark = pytest.mark.debian("chromium")

FOLDER = "SEISM_SCREENSHOTS"
"""Environment variable: where the pictures go."""


def folder(otherwise: Path) -> Path:
    return Path(os.environ.get(FOLDER, otherwise))


def test_screenshots(stage: Stage, chromium: Browser, tmp_path: Path) -> None:
    pictures = folder(tmp_path)
    # Somebody who looks at them wants to see a while.
    scale = 1.0 if FOLDER in os.environ else 0.3
    over = threading.Event()

    def load() -> None:
        while not over.wait(0.05):
            for path in ("/", "/mute", "/weak", "/idle"):
                stage.get(path)

    loading = threading.Thread(target=load)
    loading.start()
    try:
        with page(chromium, stage.url) as opened:
            opened.wait_for_timeout(1500 * scale)
            with stage.toxic("latency", latency=150):
                opened.wait_for_timeout(2500 * scale)
            opened.wait_for_timeout(1500 * scale)
            with stage.toxic("reset_peer", timeout=0):
                opened.wait_for_timeout(1500 * scale)
            opened.wait_for_timeout(2500 * scale)
            opened.screenshot(path=pictures / "live.png")
            opened.locator("#list button.red").first.click()
            opened.evaluate("scrollTo(0, 0)")
            opened.screenshot(path=pictures / "red.png")
        with page(chromium, stage.url, dark=True) as opened:
            expect(opened.locator("#list button").first).to_be_visible()
            opened.wait_for_timeout(500)
            opened.screenshot(path=pictures / "dark.png")
    finally:
        over.set()
        loading.join()
    judgement = Judgement(1, (), "red", Steady(True, "", 0), (), (), cells=(), cases=())
    report = tmp_path / "timeline.html"
    report.write_text(render(read(stage.journal), judgement))
    with page(chromium, report.as_uri()) as opened:
        opened.wait_for_function("() => Seism.page.timeline.marks > 0")
        opened.wait_for_timeout(500)
        opened.screenshot(path=pictures / "report.png")
    for name in ("live", "red", "dark", "report"):
        assert (pictures / f"{name}.png").stat().st_size > 20_000
