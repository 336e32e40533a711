"""python-ldap: every call into the C library goes through ``_ldap_call``, under its lock.

The descriptor must be read under that lock as well: beside a running call, that aborts the
process.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import wraps
from typing import Any
from urllib.parse import urlsplit

from seism_middleware.drivers.span import Patch, Spans, track_of

PORTS = {"ldap": 389, "ldaps": 636}


def patches(spans: Spans) -> Iterator[Patch]:
    """``SimpleLDAPObject._ldap_call``."""
    ldap = sys.modules["ldap"]
    descriptor, failed = ldap.OPT_DESC, (ldap.SERVER_DOWN, ldap.CONNECT_ERROR, ldap.TIMEOUT)

    def fileno(handle: Any) -> int | None:
        try:
            return int(handle.get_option(descriptor))
        except Exception:
            return None  # not connected

    def addresses(uris: str, error: Exception) -> Iterator[tuple[str, int]]:
        if isinstance(error, failed):
            for uri in uris.replace(",", " ").split():
                parts = urlsplit(uri)
                if parts.hostname and parts.scheme in PORTS:
                    yield parts.hostname, parts.port or PORTS[parts.scheme]

    def wrap(original: Any) -> Any:
        def _ldap_call(self: Any, func: Any, *args: Any, **kwargs: Any) -> Any:
            @wraps(func)
            def locked(*args: Any, **kwargs: Any) -> Any:
                handle = getattr(self, "_l", None)
                return spans.call(
                    track_of(self),
                    lambda: None if handle is None else fileno(handle),
                    lambda: func(*args, **kwargs),
                    lambda error: addresses(self._uri, error),
                    ldap.SERVER_DOWN,
                )

            return original(self, locked, *args, **kwargs)

        return _ldap_call

    yield sys.modules["ldap.ldapobject"].SimpleLDAPObject, "_ldap_call", wrap
