"""Sends the connects of this process to the proxies; Python imports it before the app.

``SEISM_REDIRECT`` holds a JSON object: ``host:port`` of a backend -> ``host:port`` of its
proxy. Patched are ``connect`` and ``connect_ex`` of the standard library's socket class,
which pure-Python clients and asyncio use; ``clients.py`` has those in C. gevent's own sockets
connect past it. ``names`` lists what is patched, ``uninstall`` puts it back. Stdlib only, and
self-contained: the app's environment may have no Seism.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import socket
import sys
from collections.abc import Mapping
from typing import Any

VARIABLE = "SEISM_REDIRECT"

_METHODS = ("connect", "connect_ex")
_originals: dict[str, Any] = {}
_class = socket.socket
"""The one that is patched, whatever ``socket.socket`` becomes."""
_where: dict[str, str] = {}


def target(address: Any, family: int, where: Mapping[str, str]) -> Any:
    """The proxy's address for ``address`` as ``connect`` takes it, or ``address`` itself."""
    if family not in (socket.AF_INET, socket.AF_INET6) or not isinstance(address, tuple):
        return address
    host, port = str(address[0]).removeprefix("::ffff:").lower(), address[1]
    proxy = where.get(f"{host}:{port}")
    if proxy is None:
        return address
    proxy_host, _, proxy_port = proxy.rpartition(":")
    proxy_host = proxy_host.strip("[]")
    if family == socket.AF_INET6 and ":" not in proxy_host:
        # An IPv6 socket reaches IPv4 by mapped addresses (RFC 4291, 2.5.5.2).
        proxy_host = f"::ffff:{proxy_host}"
    return (proxy_host, int(proxy_port), *address[2:])


def install(where: Mapping[str, str]) -> None:
    """Patch, once; ``where`` is as in the environment variable."""
    if _originals:
        return
    _where.update(where)
    for name in _METHODS:
        original = getattr(_class, name)
        _originals[name] = original
        setattr(_class, name, _wrapped(original))


def moved(host: str, port: int) -> tuple[str, int]:
    """Where a connect to ``host`` and ``port`` goes, by a client that is not Python's sockets."""
    there: tuple[str, int] = target((host, port), socket.AF_INET, _where)
    return there


def names() -> tuple[str, ...]:
    """The dotted names of what is patched now."""
    return tuple(f"socket.socket.{name}" for name in _originals)


def uninstall() -> None:
    """Put back what was there."""
    for name in list(_originals):
        # The class inherits both from the C class.
        delattr(_class, name)
        del _originals[name]
    _where.clear()


def redirected(sock: Any, address: Any) -> Any:
    """Where a connect of ``sock`` to ``address`` goes."""
    return target(address, sock.family, _where) if isinstance(sock, _class) else address


def _wrapped(original: Any) -> Any:
    def connect(self: socket.socket, address: Any) -> Any:
        return original(self, redirected(self, address))

    connect.__name__ = original.__name__
    connect.__doc__ = original.__doc__
    connect.__wrapped__ = original  # type: ignore[attr-defined]
    return connect


def _hand_on() -> None:
    """Import the ``sitecustomize`` that this one stands before, if there is one."""
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or ".") != here]
    ours = sys.modules.pop("sitecustomize")
    sys.modules["seism_redirect"] = ours
    try:
        importlib.import_module("sitecustomize")
    except ImportError as error:
        if error.name != "sitecustomize":
            raise
        sys.modules["sitecustomize"] = ours


def _clients(where: Mapping[str, str]) -> None:
    """Patch the clients in C, by the file beside this one."""
    file = os.path.join(os.path.dirname(os.path.abspath(__file__)), "clients.py")
    spec = importlib.util.spec_from_file_location("seism_redirect_clients", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.install(where)


if __name__ == "sitecustomize" and os.environ.get(VARIABLE):
    _map = json.loads(os.environ[VARIABLE])
    install(_map)
    _clients(_map)
    _hand_on()
