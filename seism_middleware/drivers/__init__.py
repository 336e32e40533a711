"""Drivers written in C, each wrapped once the app has imported it; none is imported here."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

from seism_middleware import plugins

OWN = {
    "psycopg2": "seism_middleware.drivers.psycopg2:patches",
    "psycopg": "seism_middleware.drivers.psycopg:patches",
    "MySQLdb.connections": "seism_middleware.drivers.mysqlclient:patches",
    "mysql.connector.connection_cext": "seism_middleware.drivers.mysql_connector:patches",
    "pylibmc.client": "seism_middleware.drivers.pylibmc:patches",
    "ldap.ldapobject": "seism_middleware.drivers.python_ldap:patches",
    "pycurl": "seism_middleware.drivers.pycurl:patches",
    "bonsai.ldapconnection": "seism_middleware.drivers.bonsai:patches",
    "uvloop": "seism_middleware.drivers.uvloop:patches",
}
"""The module that must have been imported -> what is patched then, called with the ``Spans``."""

CONNECTS_ONLY = ("pycurl", "bonsai.ldapconnection")
"""Of these, only failed connects are reported; the driver of another package replaces ours."""

Patches = Callable[..., Any]


def registered() -> dict[str, Patches]:
    """Ours and those of other packages, whose entry points are named after the module, too."""
    return plugins.plugins(plugins.DRIVERS, OWN, CONNECTS_ONLY)


def found(
    drivers: dict[str, Patches], module: str, spans: Any, executed: bool = False
) -> list[Any] | None:
    """What there is to patch of ``module``; None as long as it has not been ``executed`` whole.

    Each is (class or module, the name in it, original -> what is put there).
    """
    there = sys.modules.get(module)
    if there is None or (getattr(there.__spec__, "_initializing", False) and not executed):
        return None
    patches: Iterator[Any] | None = drivers[module](spans)
    try:
        return list(patches or ())
    except (AttributeError, KeyError):
        return None
    except Exception:
        plugins.complain(module)
        return []
