"""``/metrics`` read back: what a scraper would make of it."""

from __future__ import annotations

import http.client
import re

from seism.client import Control

_LINE = re.compile(r"([a-z_]+(?:\{.*\})?) (\S+)")


def scrape(served: Control) -> tuple[str, str]:
    """The Content-Type and the text."""
    connection = http.client.HTTPConnection(served.host, served.port, timeout=20)
    try:
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        assert response.status == 200
        return response.headers["Content-Type"], response.read().decode()
    finally:
        connection.close()


def samples(served: Control) -> dict[str, float]:
    """Values by name and labels as they are written: ``name{label="value"}``."""
    found: dict[str, float] = {}
    for line in scrape(served)[1].splitlines():
        if not line.startswith("#"):
            match = _LINE.fullmatch(line)
            assert match is not None, line
            assert match[1] not in found
            found[match[1]] = float(match[2])
    return found
