"""``GET /seism/``: the page, its scripts and its style, with nothing in them that is secret.

They are served without a token, which a browser cannot send with a page: the page asks for it and
sends it with everything that it fetches.
"""

from __future__ import annotations

from importlib.resources import files

from webob import Request, Response

from seism.control.router import Route
from seism.errors import NotFound

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
_ASSETS = {name.replace("/", "."): name for name in (*SCRIPTS, *STYLES, "icon.svg")}
"""The name in the address -> the file; addresses have one level only."""


def routes() -> list[Route]:
    """The rows, to be put into a Router."""

    def page(request: Request) -> Response:
        return _serve("index.html")

    def asset(request: Request, name: str) -> Response:
        if name not in _ASSETS:
            raise NotFound("not found")
        return _serve(_ASSETS[name])

    return [
        Route("GET", PATH, page, "The dashboard", gives=str, content="text/html"),
        Route("GET", ASSETS + "{name}", asset, "What the dashboard is made of", gives=str,
              content="text/javascript", errors=(404,)),
    ]  # fmt: skip


def public(method: str, path: str) -> bool:
    """Whether this may be had without a token."""
    return method == "GET" and (path == PATH or path.startswith(ASSETS))


def read(name: str) -> str:
    """One of the page's files, as text."""
    return files("seism.dashboard").joinpath("static", *name.split("/")).read_text("utf-8")


def _serve(name: str) -> Response:
    response = Response(
        read(name).encode(), content_type=_TYPES[name[name.rindex(".") :]], charset="utf-8"
    )
    response.headers.update({
        "Content-Security-Policy": POLICY,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    })  # fmt: skip
    return response
