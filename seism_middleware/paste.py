"""One line for PasteDeploy: ``filter-with = egg:seism-middleware``, pipelines, filter-apps."""

from __future__ import annotations

from collections.abc import Mapping

from seism_middleware.wsgi import App, SeismWSGI


def filter_app_factory(app: App, global_conf: Mapping[str, str], **local_conf: str) -> SeismWSGI:
    """``app`` observed, with the options of its section, which are strings.

    Raises ValueError for an option that does not exist or has a value that it cannot have.
    """
    return SeismWSGI(app, **local_conf)
