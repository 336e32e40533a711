"""Who may use the control API.

It can cut every connection of an application, and any page in a browser of the same
machine can send requests to loopback. So the Host must be ours (a name that was made
to point to loopback is not: DNS rebinding), a browser's request must come from our own
pages, and whoever listens on more than loopback needs a token.

Without a token only the sidecar's own user and root may call: other local users would
read and write through its rights.
"""

from __future__ import annotations

import hmac
import ipaddress
import os
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from seism.errors import ConfigurationError, SeismError

_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


class Forbidden(SeismError):
    """This caller may not do that."""

    status = 403


class Unauthorized(SeismError):
    """The token is missing or wrong."""

    status = 401


def is_loopback(host: str) -> bool:
    """Whether ``host``, a name or an address, is this machine and nothing else."""
    if host.lower() in _LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Guard:
    """Checks a request by its headers alone."""

    def __init__(self, host: str, token: str | None, *, any_user: bool = False) -> None:
        """``host`` is what the server listens on; ``any_user``: every local user may call.

        Raises ConfigurationError if that is more than loopback and there is no token.
        """
        if not is_loopback(host) and not token:
            raise ConfigurationError(
                f"the control API may listen on {host} only with a token: it is not loopback"
            )
        self._host = host.lower()
        self._any_host = _is_unspecified(host)
        self._token = token
        self._any_user = any_user
        self._users = {os.geteuid(), 0}

    def check(
        self,
        headers: Mapping[str, str],
        public: bool = False,
        user: Callable[[], int | None] = os.geteuid,
    ) -> bool:
        """Whether the caller may name files, too.

        ``headers`` by lower-case name; what is ``public`` needs neither token nor user;
        ``user`` tells whose the connection is, None: nobody knows. Raises Forbidden or
        Unauthorized.
        """
        host = headers.get("host", "")
        if not self._ours(host):
            raise Forbidden(f"Host {host!r} is not served here")
        origin = headers.get("origin")
        if origin is not None and origin.lower() != f"http://{host.lower()}":
            raise Forbidden(f"requests from {origin!r} are not allowed")
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            raise Forbidden("requests from other sites are not allowed")
        if not self._token:
            # A token cannot be sent by another site's page, so it is proof enough; and a
            # browser says nothing of the site where the address is not this machine.
            own_page = origin is not None or headers.get("sec-fetch-site") is not None
            if headers.get("user-agent", "").startswith("Mozilla/") and not own_page:
                raise Forbidden("User agent not allowed")
            if public:
                return False
            trusted = user() in self._users
            if not trusted and not self._any_user:
                raise Unauthorized(
                    "calls without a token are for the sidecar's own user: set SEISM_TOKEN for "
                    "both, or start the sidecar with --any-user"
                )
            return trusted
        if not public:
            scheme, _, given = headers.get("authorization", "").partition(" ")
            right = hmac.compare_digest(
                given.strip().encode("latin-1", "replace"), self._token.encode()
            )
            if scheme.lower() != "bearer" or not right:
                raise Unauthorized("a bearer token is needed")
        return not public

    def _ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname
        except ValueError:
            return False
        if name is None or "@" in host or "/" in host:
            return False
        # Listening everywhere we cannot know our names; the token is required then.
        return self._any_host or is_loopback(name) or name == self._host


def _is_unspecified(host: str) -> bool:
    try:
        return not host or ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False
