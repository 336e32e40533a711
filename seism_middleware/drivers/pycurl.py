"""pycurl: a C class, exchanged for a subclass that reports the connects that fail.

What its calls send is not followed here (``evidence.kernel``).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from seism_middleware.drivers.span import Patch, Spans, Track

METHODS = ("perform", "perform_rb", "perform_rs")
PORTS = {"http": 80, "https": 443, "ftp": 21, "smtp": 25, "smtps": 465, "ldap": 389, "ldaps": 636}


def patches(spans: Spans) -> Iterator[Patch]:
    """``pycurl.Curl``."""
    module = sys.modules["pycurl"]

    def addresses(curl: Any, error: Exception) -> Iterator[tuple[str, int]]:
        if not isinstance(error, module.error) or error.args[0] != module.E_COULDNT_CONNECT:
            return
        parts = urlsplit(curl.getinfo(module.EFFECTIVE_URL))
        port = parts.port or PORTS.get(parts.scheme)
        if parts.hostname and port:
            yield parts.hostname, port

    def method(original: Any) -> Any:
        def method(self: Any) -> Any:
            return spans.call(
                Track(),
                lambda: None,
                lambda: original(self),
                lambda error: addresses(self, error),
            )

        method.__name__, method.__doc__ = original.__name__, original.__doc__
        return method

    def wrap(original: Any) -> Any:
        members = {name: method(getattr(original, name)) for name in METHODS}
        return type(original.__name__, (original,), members)

    yield module, "Curl", wrap
