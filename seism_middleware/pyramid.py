"""Pyramid: ``pyramid.includes = seism_middleware``, with settings that begin with ``seism.``.

A tween over the exception views, so that what they make of an exception is what counts. Where
pyramid_retry repeats a request, each attempt is a request of its own to a tween; PasteDeploy's
filter stands outside of the attempts. With both, the filter is the one that observes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from seism_middleware.contract import ENVIRON_REQUEST
from seism_middleware.frameworks import pyramid_matched
from seism_middleware.lost_route import pyramid_finder
from seism_middleware.settings import LazyObserver, Settings
from seism_middleware.wsgi import ObservedResponse

TWEEN = "seism_middleware.pyramid.tween_factory"
PREFIX = "seism."

_log = logging.getLogger(__name__)


def includeme(config: Any) -> None:
    """Add the tween, over the exception views and the transaction.

    Raises ValueError for a setting that does not exist or has a value that it cannot have.
    """
    from pyramid.interfaces import IBeforeTraversal
    from pyramid.settings import aslist
    from pyramid.tweens import EXCVIEW

    _settings(config.registry)
    explicit = aslist(config.registry.settings.get("pyramid.tweens") or "")
    if explicit and TWEEN not in explicit:
        _log.warning(
            "requests are not observed: the setting pyramid.tweens decides alone which tweens "
            "there are, and %s is not in it; put it over %s",
            TWEEN,
            EXCVIEW,
        )
    config.add_tween(TWEEN, over=[EXCVIEW, "pyramid_tm.tm_tween_factory"])
    config.add_subscriber(pyramid_matched, IBeforeTraversal)


def _settings(registry: Any) -> Settings:
    settings = registry.settings.items()
    return Settings.of(
        {key.removeprefix(PREFIX): value for key, value in settings if key.startswith(PREFIX)},
        PREFIX,
    )


def tween_factory(handler: Callable[[Any], Any], registry: Any) -> Callable[[Any], Any]:
    """The tween around ``handler``; the sidecar is looked for at the first request."""
    return _Tween(handler, registry)


class _Tween:
    def __init__(self, handler: Callable[[Any], Any], registry: Any) -> None:
        self._handler = handler
        self._lazy = LazyObserver(_settings(registry))
        self._finders = (pyramid_finder(self),)
        self.registry = registry

    def __call__(self, request: Any) -> Any:
        observer = self._lazy.get("wsgi")
        environ = request.environ
        if observer is None or ENVIRON_REQUEST in environ:
            return self._handler(request)
        path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        shows = self._lazy.settings.perturbation_header
        watched = ObservedResponse(
            observer, environ, environ["REQUEST_METHOD"], path, shows, self._finders
        )
        response = watched.call(self._handler, request)
        response.headers.update(watched.call(watched.starting))
        watched.began(response.status, response.headerlist)
        length = response.content_length
        response.app_iter = watched.wrap(response.app_iter)
        response.content_length = length  # a new iterator makes WebOb forget it
        return response
