"""What the applications of the pairs answer with: no more than they have in common."""

from __future__ import annotations

from collections.abc import Iterable

from seism_middleware.wsgi import StartResponse


def text(start: StartResponse, status: str = "200 OK", body: bytes = b"x") -> Iterable[bytes]:
    """A small body; a 503 says when to come again."""
    headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]
    if status.startswith("503"):
        headers.append(("Retry-After", "5"))
    start(status, headers)
    return [body]


AWAY = "503 Service Unavailable"
