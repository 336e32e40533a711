"""Debian's Chromium, driven by Playwright, which never brings a browser of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = "/usr/bin/chromium"

# As root there is no sandbox; nothing is to be looked for in the network.
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip

NOTED = "net::ERR_|willReadFrequently"


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser until the block ends."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        try:
            yield started
        finally:
            started.close()


@contextmanager
def page(started: Browser, url: str, *, dark: bool = False, but: str = NOTED) -> Iterator[Page]:
    """The page at ``url``. What it complains of in its console, but for what matches ``but``,
    fails the block: the browser notes there what the network says of a sidecar that was
    stopped, and that a test reads pixels.
    """
    context = started.new_context(
        viewport={"width": 1400, "height": 900}, color_scheme="dark" if dark else "light"
    )
    opened = context.new_page()
    opened.set_default_timeout(20_000)
    said: list[str] = []
    opened.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    opened.on("pageerror", lambda error: said.append(f"uncaught: {error}"))
    try:
        opened.goto(url)
        yield opened
    finally:
        context.close()
    faults = [line for line in said if not re.search(but, line)]
    if faults:
        raise AssertionError(f"in the console of {url}: {faults}")
