"""Flask: ``Seism(app)``, or ``seism.init_app(app)`` where the app is made by a factory."""

from __future__ import annotations

from typing import Any

from seism_middleware.settings import help_texts
from seism_middleware.wsgi import SeismWSGI


class Seism:
    """A Flask extension that observes every request of an app.

    The options are those of ``Settings``; what is not given is taken from the app's
    configuration (``SEISM_SIDECAR`` and so on), then from the environment.

    Raises ValueError for an option that does not exist or has a value that it cannot have.
    """

    def __init__(self, app: Any = None, **options: Any) -> None:
        self._options = options
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Any) -> None:
        """Observe ``app``, which goes on to be the app that is run."""
        keys = {name: f"SEISM_{name.upper()}" for name in help_texts()}
        configured = {name: app.config[key] for name, key in keys.items() if key in app.config}
        app.wsgi_app = SeismWSGI(app.wsgi_app, **{**configured, **self._options})
