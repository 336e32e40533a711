"""One config line: PasteDeploy's ``filter-with = egg:seism``.

Where the wrapped app is Pyramid's router, the routes' patterns name the requests.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping
from typing import Any

from seism_middleware.contract import ENVIRON_ROUTE
from seism_middleware.wsgi import App, SeismWSGI

OPTIONS = {
    "sidecar": "host:port of the sidecar's control address, default $SEISM_SIDECAR",
    "token": "the token that the sidecar wants, default $SEISM_TOKEN",
    "statsd": "host:port of a statsd server, default none",
    "perturbation_header": "true: responses say in Seism-Perturbation what hit them",
    "statsd_prefix": "what the metrics' names begin with, default seism",
}


def filter_app_factory(app: App, global_conf: Mapping[str, str], **local_conf: str) -> SeismWSGI:
    """``app`` observed, with the options of its section, which are strings.

    Raises ValueError for an option that does not exist or an address that is none.
    """
    for key in local_conf:
        if key not in OPTIONS:
            close = difflib.get_close_matches(key, OPTIONS, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(OPTIONS)}"
            raise ValueError(f"seism: unknown option {key!r}; {hint}")
    follow_routes(app)
    options: dict[str, Any] = dict(local_conf)
    if "perturbation_header" in options:
        options["perturbation_header"] = truth(options["perturbation_header"])
    return SeismWSGI(app, **options)


def truth(text: str) -> bool:
    """What PasteDeploy's own ``asbool`` makes of ``text``. Raises ValueError for other words."""
    word = text.strip().lower()
    if word in ("true", "yes", "on", "y", "t", "1"):
        return True
    if word in ("false", "no", "off", "n", "f", "0"):
        return False
    raise ValueError(f"seism: perturbation_header is true or false, not {text!r}")


def follow_routes(app: Any) -> bool:
    """Note the matched route's pattern in each environ, if ``app`` is a Pyramid router."""
    if "pyramid" not in sys.modules or not hasattr(app, "routes_mapper"):
        return False
    from pyramid.interfaces import IContextFound

    app.registry.registerHandler(_context_found, (IContextFound,))
    return True


def _context_found(event: Any) -> None:
    route = getattr(event.request, "matched_route", None)
    if route is not None:
        event.request.environ.setdefault(ENVIRON_ROUTE, "/" + route.pattern.lstrip("/"))
