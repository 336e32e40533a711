"""bonsai: Python classes over libldap, which report connections that fail or are lost.

What its calls send is not followed here (``evidence.kernel``).
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Coroutine, Iterator
from typing import Any

from seism_middleware.drivers.span import Patch, Spans, Track

METHODS = (
    "add",
    "delete",
    "modify_password",
    "open",
    "paged_search",
    "search",
    "virtual_list_search",
    "whoami",
)


def patches(spans: Spans) -> Iterator[Patch]:
    """Methods of the base class of all connections, whether they wait or are awaited."""
    module = sys.modules["bonsai.ldapconnection"]
    errors = sys.modules["bonsai.errors"]

    def addresses(connection: Any, error: Exception) -> Iterator[tuple[str, int]]:
        if isinstance(error, errors.ConnectionError):
            url = connection._BaseLDAPConnection__client.url
            yield url.host, url.port

    def wrap(original: Any) -> Any:
        def connect(self: Any, *args: Any, **kwargs: Any) -> Any:
            found = spans.call(
                Track(),
                lambda: None,
                lambda: original(self, *args, **kwargs),
                lambda error: addresses(self, error),
            )
            return awaited(self, found) if inspect.iscoroutine(found) else found

        return connect

    async def awaited(connection: Any, opening: Coroutine[Any, Any, Any]) -> Any:
        span = spans.enter(Track(), None)
        try:
            return await opening
        except Exception as error:
            if span is not None:
                spans.failed(span, error, lambda error: addresses(connection, error))
            raise

    for name in METHODS:
        if hasattr(module.BaseLDAPConnection, name):
            yield module.BaseLDAPConnection, name, wrap
