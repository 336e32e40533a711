"""The options of the middleware, declared once for every way to set it up."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from seism_middleware.drivers import early
from seism_middleware.frameworks import follow
from seism_middleware.hits import HITS
from seism_middleware.lost_route import Finder, finders
from seism_middleware.observer import Observer, configured, parse_address
from seism_middleware.patches import ALL, LEVELS

_log = logging.getLogger(__name__)

# Every adapter imports this module, and an app its adapter, mostly before its pools are made.
early.start()


def _option(default: str | bool | None, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True, slots=True)
class Settings:
    """What a wrapper, a filter or an adapter was told. Every value may be a text.

    Raises ValueError for a ``sidecar`` or ``statsd`` that is no address, for a ``patch``
    that is no level and for a ``perturbation_header`` that is neither true nor false.
    """

    sidecar: str | None = _option(
        None, "host:port of the sidecar's control address, default $SEISM_SIDECAR"
    )
    token: str | None = _option(None, "the token that the sidecar wants, default $SEISM_TOKEN")
    statsd: str | None = _option(None, "host:port of a statsd server, default none")
    statsd_prefix: str = _option("seism", "what the metrics' names begin with, default seism")
    perturbation_header: bool = _option(
        False,
        "whether responses say in Seism-Perturbation what is known to have hit them, true or "
        "false. Default false",
    )
    patch: str = _option(
        ALL,
        "what is patched in the app's process: all; sockets (and the log), without threads and "
        "greenlets; or none, and then no perturbation can be attributed to a request. Default all",
    )

    def __post_init__(self) -> None:
        shown = truth("perturbation_header", self.perturbation_header)
        object.__setattr__(self, "perturbation_header", shown)
        if self.sidecar:
            parse_address(self.sidecar)
        if self.statsd:
            parse_address(self.statsd, 8125)
        if self.patch not in LEVELS:
            raise ValueError(f"patch: {self.patch!r} is none of {', '.join(LEVELS)}")

    @classmethod
    def of(cls, options: Mapping[str, Any], prefix: str = "") -> Settings:
        """The settings of ``options``, whose names begin with ``prefix`` for the user.

        Raises ValueError for a name that does not exist, with the nearest one that does.
        """
        names = help_texts()
        for key in options:
            if key not in names:
                close = difflib.get_close_matches(key, names, n=1)
                hint = (
                    f"did you mean {prefix + close[0]!r}?"
                    if close
                    else f"known: {', '.join(prefix + name for name in names)}"
                )
                raise ValueError(f"seism: unknown option {prefix + key!r}; {hint}")
        return cls(**options)

    def observer(self, interface: str) -> Observer | None:
        """The observer for these settings and the environment, None without a sidecar.

        A bad address in the environment is said, not raised. ``interface`` is ``wsgi`` or
        ``asgi``.
        """
        try:
            found = configured(
                self.sidecar, self.token, interface, self.statsd, self.statsd_prefix, self.patch
            )
        except ValueError as error:
            _log.error("requests are not observed: %s", error)
            return None
        if found is not None and self.perturbation_header:
            HITS.follow()
        return found


class LazyObserver:
    """The observer for ``settings``, looked for at the first request and never again.

    Adapters ask for it in every request; nothing is read or opened before the first one.
    """

    __slots__ = ("_decided", "_observer", "finders", "settings")

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.finders: tuple[Finder, ...] = ()
        """What finds the route of a request that its framework has not matched."""
        self._observer: Observer | None = None
        self._decided = False

    def get(self, interface: str, app: Any = None) -> Observer | None:
        """None without a sidecar. ``interface`` is ``wsgi`` or ``asgi``; the frameworks inside
        of ``app``, if one is given, are asked for the routes that they match.
        """
        if not self._decided:
            self._observer = self.settings.observer(interface)
            if self._observer is not None and app is not None:
                follow(app)
                self.finders = finders(app)
            self._decided = True
        return self._observer


def truth(name: str, value: object) -> bool:
    """What the option ``name`` means, a bool or one of the words that PasteDeploy knows.

    Raises ValueError for everything else.
    """
    if isinstance(value, bool):
        return value
    word = value.strip().lower() if isinstance(value, str) else ""
    if word in ("true", "yes", "on", "y", "t", "1"):
        return True
    if word in ("false", "no", "off", "n", "f", "0"):
        return False
    raise ValueError(f"seism: {name} is true or false, not {value!r}")


def help_texts() -> dict[str, str]:
    """Name -> one line for the user, of every option."""
    return {option.name: option.metadata["help"] for option in fields(Settings)}
