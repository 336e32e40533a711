"""The files of the page: HTML, scripts, style. There is nothing secret in them."""

from __future__ import annotations

from importlib.resources import files

PATH = "/seism/"
ASSETS = PATH + "assets/"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""No inline script or style, nothing from anywhere else, no frame around it."""

SCRIPTS = ("vendor/uplot.js", "model.js", "source.js", "timeline.js", "charts.js", "page.js")
STYLES = ("vendor/uplot.css", "style.css")
_TYPES = {
    ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml",
}  # fmt: skip
ASSET_FILES = {name.replace("/", "."): name for name in (*SCRIPTS, *STYLES, "icon.svg")}
"""The name in the address -> the file; addresses have one level only."""


def asset(name: str) -> tuple[str, bytes]:
    """What is served under ``name``, one of ``ASSET_FILES``: (media type, content)."""
    return content(ASSET_FILES[name])


def content(file: str) -> tuple[str, bytes]:
    """One of the page's files: (media type, content)."""
    return _TYPES[file[file.rindex(".") :]], read(file).encode()


def read(name: str) -> str:
    """One of the page's files, as text."""
    return files("seism.dashboard").joinpath("static", *name.split("/")).read_text("utf-8")
