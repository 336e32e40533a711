"""Clients in C, which connect past Python's sockets: each is told the proxy's address instead.

A driver is patched at its public connect when it is imported, so that whoever follows its calls
sees the address that it really connects to. Of libpq, ``hostaddr`` and ``port`` are replaced:
``host`` stays as the name that a certificate is checked for (PostgreSQL's manual, 34.1.2). What
cannot be read (a wrong connection string) is left to the driver. Stdlib only; loaded by its path.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

Where = Mapping[str, str]
"""``host:port`` of a backend -> ``host:port`` of its proxy."""
_URI = re.compile(r"(?P<scheme>ldaps?)://(?P<host>\[[^]]*\]|[^/:?,\s]*)(:(?P<port>\d+))?", re.I)
_MYSQL = ("host", "user", "password", "database", "port", "unix_socket")
"""The first parameters of mysqlclient, by their places."""
_LDAP_PORTS = {"ldap": "389", "ldaps": "636"}
_undo: list[Callable[[], None]] = []


def install(where: Where) -> None:
    """Patch the clients that have been imported; the others on import."""
    imports = _load("imports").Imports(CLIENTS, lambda name: _patch(name, where))
    imports.install()
    _undo.append(imports.uninstall)
    for name in CLIENTS:
        if name in sys.modules:
            _patch(name, where)


def uninstall() -> None:
    """Restore the originals. Idempotent."""
    while _undo:
        _undo.pop()()


def moved(where: Where, host: str, port: Any) -> tuple[str, str] | None:
    """Host and port of the proxy, if ``host:port`` is a backend's address."""
    host = host.strip("[]").removeprefix("::ffff:").lower()
    proxy = where.get(f"{host}:{port}")
    if proxy is None:
        return None
    there, _, number = proxy.rpartition(":")
    return there.strip("[]"), number


def libpq(where: Where, given: Mapping[str, Any]) -> dict[str, str]:
    """The parameters that replace those of ``given``; none if it leads to no backend.

    Several hosts are several entries of each list; an empty ``hostaddr`` is looked up.
    """
    hosts, numeric = _words(given, "host", "PGHOST"), _words(given, "hostaddr", "PGHOSTADDR")
    ports = _words(given, "port", "PGPORT") or [""]
    addresses, numbers, is_moved = [], [], False
    for index in range(max(len(hosts), len(numeric))):
        host = hosts[index] if index < len(hosts) else ""
        address = numeric[index] if index < len(numeric) else ""
        port = (ports[index] if index < len(ports) else ports[0]) or "5432"
        there = moved(where, address or host, port) or moved(where, host, port)
        is_moved = is_moved or there is not None
        address, port = there or (address, port)
        addresses.append(address)
        numbers.append(port)
    return {"hostaddr": ",".join(addresses), "port": ",".join(numbers)} if is_moved else {}


def _words(given: Mapping[str, Any], name: str, variable: str) -> list[str]:
    value = given.get(name) or os.environ.get(variable) or ""
    return str(value).split(",") if value else []


def uri(where: Where, text: str) -> str:
    """LDAP's URIs, separated by spaces, with the proxies' addresses."""

    def replaced(match: re.Match[str]) -> str:
        port = match["port"] or _LDAP_PORTS[match["scheme"].lower()]
        there = moved(where, match["host"] or "localhost", port)
        return match[0] if there is None else f"{match['scheme']}://{there[0]}:{there[1]}"

    return _URI.sub(replaced, text)


def _psycopg2(module: Any, where: Where) -> None:
    def arguments(dsn: Any = None, *args: Any, **kwargs: Any) -> Any:
        given = {**(module.extensions.parse_dsn(dsn) if dsn else {}), **kwargs}
        return (dsn, *args), {**kwargs, **libpq(where, given)}

    _wrap(module, "connect", arguments)


def _psycopg(module: Any, where: Where) -> None:
    def arguments(cls: Any, conninfo: str = "", **kwargs: Any) -> Any:
        read = sys.modules["psycopg.conninfo"].conninfo_to_dict
        given = {**read(conninfo), **kwargs}
        return (cls, conninfo), {**kwargs, **libpq(where, given)}

    name = "AsyncConnection" if module.__name__.endswith("_async") else "Connection"
    _wrap(getattr(module, name), "connect", arguments, classmethod)


def _mysqlclient(module: Any, where: Where) -> None:
    def arguments(*args: Any, **kwargs: Any) -> Any:
        placed = {_MYSQL[index]: value for index, value in enumerate(args[: len(_MYSQL)])}
        given = {**placed, **kwargs}
        there = moved(where, given.get("host") or "localhost", given.get("port") or 3306)
        if there is not None and not given.get("unix_socket"):
            given.update(host=there[0], port=int(there[1]))
        return args[len(_MYSQL) :], given

    _wrap(module, "Connect", arguments)
    module.connect = module.Connection = module.Connect


def _pylibmc(module: Any, where: Where) -> None:
    def server(text: Any) -> Any:
        host, _, port = str(text).partition(":")
        there = moved(where, host, port or 11211) if isinstance(text, str) else None
        return text if there is None else ":".join(there)

    def arguments(self: Any, servers: Any, *args: Any, **kwargs: Any) -> Any:
        return (self, [server(each) for each in servers], *args), kwargs

    _wrap(module.Client, "__init__", arguments)


def _python_ldap(module: Any, where: Where) -> None:
    def arguments(self: Any, address: str, *args: Any, **kwargs: Any) -> Any:
        return (self, uri(where, address), *args), kwargs

    _wrap(module.SimpleLDAPObject, "__init__", arguments)


def _uvloop(module: Any, where: Where) -> None:
    def arguments(
        self: Any, factory: Any, host: Any = None, port: Any = None, *args: Any, **kwargs: Any
    ) -> Any:
        there = moved(where, str(host), port)
        if there is not None:
            if kwargs.get("ssl") and not kwargs.get("server_hostname"):
                kwargs["server_hostname"] = host
            host, port = there[0], int(there[1])
        return (self, factory, host, port, *args), kwargs

    _wrap(module.Loop, "create_connection", arguments)


CLIENTS: dict[str, Callable[[Any, Where], None]] = {
    "psycopg2": _psycopg2,
    "psycopg.connection": _psycopg,
    "psycopg.connection_async": _psycopg,
    "MySQLdb": _mysqlclient,
    "pylibmc.client": _pylibmc,
    "ldap.ldapobject": _python_ldap,
    "uvloop": _uvloop,
}


def _patch(name: str, where: Where) -> None:
    try:
        CLIENTS[name](sys.modules[name], where)
    except AttributeError:
        pass  # of a version that we do not know: its connects go past the proxy, as the doctor says


def _wrap(owner: Any, name: str, arguments: Callable[..., Any], kind: Any = None) -> None:
    """Call ``owner.name`` with what ``arguments`` makes of the call's own."""
    kept = owner.__dict__.get(name)
    original = kept.__func__ if kind is not None else getattr(owner, name)

    @functools.wraps(original)
    def connect(*args: Any, **kwargs: Any) -> Any:
        try:
            args, kwargs = arguments(*args, **dict(kwargs))
        except Exception:
            pass  # the driver says what is wrong with them
        return original(*args, **kwargs)

    setattr(owner, name, connect if kind is None else kind(connect))

    def undo() -> None:
        if kept is None:
            delattr(owner, name)
        else:
            setattr(owner, name, kept)

    _undo.append(undo)


def _load(name: str) -> Any:
    """A module beside this folder, by its path: the app's environment may have no Seism."""
    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    spec = importlib.util.spec_from_file_location(
        f"seism_redirect_{name}", os.path.join(folder, f"{name}.py")
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
