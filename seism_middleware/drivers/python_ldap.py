"""python-ldap: every call into the C library goes through ``_ldap_call``, under its lock.

The descriptor must be read under that lock as well: beside a running call, that aborts the
process.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import wraps
from typing import Any

from seism_middleware.drivers.span import Patch, Spans, track_of


def patches(spans: Spans) -> Iterator[Patch]:
    """``SimpleLDAPObject._ldap_call``."""
    descriptor = sys.modules["ldap"].OPT_DESC

    def fileno(ldap: Any) -> int | None:
        try:
            return int(ldap.get_option(descriptor))
        except Exception:
            return None  # not connected

    def wrap(original: Any) -> Any:
        def _ldap_call(self: Any, func: Any, *args: Any, **kwargs: Any) -> Any:
            @wraps(func)
            def locked(*args: Any, **kwargs: Any) -> Any:
                ldap = getattr(self, "_l", None)
                return spans.call(
                    track_of(self),
                    lambda: None if ldap is None else fileno(ldap),
                    lambda: func(*args, **kwargs),
                )

            return original(self, locked, *args, **kwargs)

        return _ldap_call

    yield sys.modules["ldap.ldapobject"].SimpleLDAPObject, "_ldap_call", wrap
