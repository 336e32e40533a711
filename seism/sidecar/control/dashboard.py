"""``GET /seism/``: the dashboard's page, its scripts and its style.

A browser cannot send a token when it opens a page, so these files are public. The page asks the
user for the token and sends it with every request of its own.
"""

from __future__ import annotations

from webob import Request, Response

from seism.dashboard.page import ASSET_FILES, ASSETS, PATH, POLICY, asset, content
from seism.errors import NotFound
from seism.sidecar.control.router import Route


def routes() -> list[Route]:
    """The rows, to be put into a Router."""

    def page(request: Request) -> Response:
        return _response(*content("index.html"))

    def one_asset(request: Request, name: str) -> Response:
        if name not in ASSET_FILES:
            raise NotFound("not found")
        return _response(*asset(name))

    return [
        Route("GET", PATH, page, "The dashboard", gives=str, content="text/html"),
        Route("GET", ASSETS + "{name}", one_asset, "What the dashboard is made of", gives=str,
              content="text/javascript", errors=(404,)),
    ]  # fmt: skip


def public(method: str, path: str) -> bool:
    """Whether this needs no token."""
    return method == "GET" and (path == PATH or path.startswith(ASSETS))


def _response(media_type: str, body: bytes) -> Response:
    response = Response(body, content_type=media_type, charset="utf-8")
    response.headers.update({
        "Content-Security-Policy": POLICY,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    })  # fmt: skip
    return response
