"""Drivers written in C, each wrapped once the app has imported it; none is imported here."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

from seism_middleware.drivers import (
    mysql_connector,
    mysqlclient,
    psycopg,
    psycopg2,
    pylibmc,
    python_ldap,
    uvloop,
)
from seism_middleware.drivers.span import Patch, Spans

DRIVERS: dict[str, Callable[[Spans], Iterator[Patch]]] = {
    "psycopg2": psycopg2.patches,
    "psycopg": psycopg.patches,
    "MySQLdb.connections": mysqlclient.patches,
    "mysql.connector.connection_cext": mysql_connector.patches,
    "pylibmc.client": pylibmc.patches,
    "ldap.ldapobject": python_ldap.patches,
    "uvloop": uvloop.patches,
}
"""The module that must have been imported -> what is patched then."""


def found(module: str, spans: Spans, executed: bool = False) -> list[Patch] | None:
    """What there is to patch of ``module``; None as long as it has not been ``executed`` whole."""
    there = sys.modules.get(module)
    if there is None or (getattr(there.__spec__, "_initializing", False) and not executed):
        return None
    try:
        return list(DRIVERS[module](spans))
    except (AttributeError, KeyError):
        return None
