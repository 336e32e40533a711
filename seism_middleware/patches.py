"""What is patched in the app's process, and how it is undone.

Classes are patched, no modules (but ``psycopg2._connect``, whose classes are C, and
``threading.excepthook``): the standard library's ``socket.socket``, gevent's where the app uses
gevent, asyncio's selector transport where the app uses asyncio, SSL sockets, ``logging.Logger``,
what starts threads (``propagation``), what is told of exceptions outside of requests
(``background``), and drivers that are written in C (``drivers``). Nothing but ``psycopg2``
(``drivers.early``) is patched before the first observed request.
"""

from __future__ import annotations

import gc
import logging
import socket
import sys
import threading
import time
import weakref
from collections.abc import Callable
from errno import EAGAIN, EALREADY, EINPROGRESS, EISCONN
from typing import Any

from seism_middleware import drivers, plugins, propagation
from seism_middleware.background import Background
from seism_middleware.connects import destination, sock_connect
from seism_middleware.drivers.early import EARLY, MODULE
from seism_middleware.drivers.span import Spans
from seism_middleware.guard import fault, guarded, shielded
from seism_middleware.imports import Imports
from seism_middleware.ledger import UNKNOWN, Ledger
from seism_middleware.logs import call_handlers
from seism_middleware.traffic import Claim, Connection, collection

ALL, SOCKETS, NONE = LEVELS = ("all", "sockets", "none")
"""How much is patched; ``sockets`` has the log as well, but no threads and greenlets."""

_UNDER_WAY = (EINPROGRESS, EAGAIN, EALREADY)

Wrap = Callable[[Any, Any, "Ledger"], Any]
"""``(the original function, the class's fileno function, ledger) -> the new function``."""


class Patches:
    """A set of patched class attributes; ``install`` and ``uninstall`` may be repeated."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._spans = Spans(ledger)
        self.background = Background(ledger)
        self._lock = threading.Lock()
        self._done: list[tuple[Any, str, Any, bool]] = []
        self._hooks: list[tuple[str, Callable[[], None]]] = []
        self._installed: set[str] = set()
        self._pending: list[str] = []
        self._modules = 0
        self._news = False
        """A driver has been patched since somebody asked."""
        self._drivers: dict[str, drivers.Patches] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The dotted names of everything that is patched now."""
        patched = [f"{_name(owner)}.{name}" for owner, name, _, _ in self._done]
        return (*patched, *(name for name, _ in self._hooks))

    def install(self, level: str = ALL) -> None:
        """Patch what there is to patch in the modules that are imported by now.

        Where several observers ask for several of ``LEVELS``, the most is what is patched.
        """
        with self._lock:
            if level != NONE:
                self._once(SOCKETS, self._install_sockets)
            elif not self._installed:
                EARLY.release()
            if level == ALL:
                self._once(ALL, self._install_threads)
        self.follow()

    def follow(self) -> bool:
        """Patch the drivers that were imported before; whether any was patched since last time.

        To be called in every request, so mostly it compares two numbers.
        """
        if len(sys.modules) == self._modules and not self._news:
            return False
        with self._lock:
            if self._pending and len(sys.modules) != self._modules:
                self._modules = len(sys.modules)
                for module in list(self._pending):
                    if not self._driver(module) and module in sys.modules:
                        self._modules = 0  # it is being imported
            news, self._news = self._news, False
            return news

    def _imported(self, module: str) -> None:
        with self._lock:
            if module in self._pending:
                self._driver(module, executed=True)

    def _driver(self, module: str, executed: bool = False) -> bool:
        """Whether the driver is patched now."""
        if EARLY.adopt(module, self._spans):
            self._pending.remove(module)
            self._hooks.append((f"{MODULE}._connect", EARLY.release))
            self._news = True
            return True
        patches = drivers.found(self._drivers, module, self._spans, executed)
        if patches is None:
            return False
        self._pending.remove(module)
        for owner, name, wrap in patches:
            try:
                original = getattr(owner, name)
                self._patch(owner, name, wrap(getattr(original, "__func__", original)))
            except Exception:
                plugins.complain(f"{plugins.DRIVERS}: {module}")
        self._news = True
        return True

    def _once(self, level: str, install: Callable[[], None]) -> None:
        if level not in self._installed:
            self._installed.add(level)
            install()

    def _install_threads(self) -> None:
        for cls, name, wrap in (*propagation.methods(), *self.background.patches()):
            self._patch(cls, name, wrap(getattr(cls, name)))
        hook = propagation.hook_greenlets()
        if hook is not None:
            self._hooks.append(hook)

    def _install_sockets(self) -> None:
        for cls in _socket_classes():
            # Its sendall comes down to send: both would count everything twice.
            wraps = _GEVENT if cls.__module__.startswith("gevent.") else _SOCKET
            for name, wrap in wraps.items():
                if hasattr(cls, name):
                    self._patch(cls, name, wrap(getattr(cls, name), cls.fileno, self._ledger))
        for cls in _ssl_classes():
            self._patch(cls, "send", _ssl_send(cls.send, cls.fileno, self._ledger))
        for cls, name, wrap in _asyncio_methods():
            self._patch(cls, name, wrap(getattr(cls, name), None, self._ledger))
        logger = logging.Logger
        self._patch(logger, "callHandlers", call_handlers(logger.callHandlers, self._ledger.named))
        self._drivers = drivers.registered()
        self._pending = list(self._drivers)
        imports = Imports(self._drivers, self._imported)
        imports.install()
        self._hooks.append(("sys.meta_path", imports.uninstall))
        gc.callbacks.append(collection)
        self._hooks.append(("gc.callbacks", lambda: gc.callbacks.remove(collection)))

    def uninstall(self) -> None:
        """Put back exactly what was there, unless someone has patched over it since."""
        with self._lock:
            for owner, name, put, own in reversed(self._done):
                if owner.__dict__.get(name) is not put:
                    continue
                if own is None:
                    delattr(owner, name)
                else:
                    setattr(owner, name, own)
            for _, undo in self._hooks:
                undo()
            self._done.clear()
            self._hooks.clear()
            self._installed.clear()
            self._pending.clear()

    @property
    def drivers(self) -> tuple[str, ...]:
        """The modules of drivers that are patched once they are imported."""
        return tuple(self._drivers)

    def look(self) -> None:
        """See which sockets belong to the drivers' calls that run now, where that is not known."""
        self._spans.look()

    def renew(self) -> None:
        """After a fork: the lock may have been held by a thread that is gone."""
        self._lock = threading.Lock()
        self._spans.renew()
        self.background.forget()

    def _patch(self, owner: Any, name: str, wrapper: Any) -> None:
        own = owner.__dict__.get(name)
        original = getattr(owner, name)
        wrapper.__name__ = name
        wrapper.__qualname__ = f"{getattr(owner, '__qualname__', '')}.{name}".lstrip(".")
        wrapper.__module__ = getattr(owner, "__module__", owner.__name__)
        wrapper.__doc__ = original.__doc__
        wrapper.__wrapped__ = original
        put = classmethod(wrapper) if isinstance(own, classmethod) else wrapper
        setattr(owner, name, put)
        self._done.append((owner, name, put, own))


def _name(owner: Any) -> str:
    """The dotted name of a class or a module."""
    if not isinstance(owner, type):
        return str(owner.__name__)
    return f"{owner.__module__}.{owner.__qualname__}"


def _socket_classes() -> list[type[Any]]:
    """The standard library's class and gevent's, whichever of them ``socket.socket`` is."""
    found: list[type[Any]] = [socket.socket]
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None:
        found.append(monkey.get_original("socket", "socket"))
    module = sys.modules.get("gevent._socket3")
    if module is not None:
        found.append(module.socket)
    return list(dict.fromkeys(found))


def _ssl_classes() -> list[type[Any]]:
    found = [
        getattr(sys.modules[name], "SSLSocket", None)
        for name in ("ssl", "gevent.ssl")
        if name in sys.modules
    ]
    return [cls for cls in dict.fromkeys(found) if cls is not None]


def _asyncio_methods() -> list[tuple[type[Any], str, Wrap]]:
    module = sys.modules.get("asyncio.selector_events")
    if module is None:
        return []
    transport = module._SelectorSocketTransport
    found: list[tuple[type[Any], str, Wrap]] = [(transport, "write", _transport_write)]
    if "writelines" in transport.__dict__:
        found.append((transport, "writelines", _transport_writelines))
    found.append((module.BaseSelectorEventLoop, "sock_connect", sock_connect))
    return found


def _size(data: Any) -> int:
    return len(data) if type(data) is bytes else memoryview(data).nbytes


def _sizes(buffers: Any) -> int | None:
    """Bytes of all of them; None if they are none."""
    try:
        return sum(map(_size, buffers))
    except TypeError:
        return None


def _send(original: Any, fileno: Any, ledger: Ledger) -> Any:
    """``send``, ``sendall``: one buffer first, whatever follows.

    It is ``guarded`` written out, as every send of the app passes here.
    """
    lookup, claimed = ledger.table.get, ledger.claim

    def send(self: Any, data: Any, flags: Any = 0, /) -> Any:
        try:
            connection = lookup(fileno(self), UNKNOWN)
            if connection is UNKNOWN:
                connection = ledger.adopt(self)
            if connection is None or connection.transported:
                claim = None
            else:
                connection.asks(data)
                size = len(data) if type(data) is bytes else _sizes((data,))
                claim = None if size is None else claimed(connection, size, self)
        except Exception:
            claim = None
            fault()
        if claim is None:
            return original(self, data, flags)
        try:
            sent = original(self, data, flags)
        except BaseException:
            failed(connection, claim, self)
            raise
        if sent is not None and sent != size:
            correct(connection, claim, sent)
        return sent

    failed, correct = shielded(ledger.failed), shielded(ledger.correct)
    return send


def _gevent_send(original: Any, fileno: Any, ledger: Ledger) -> Any:
    """gevent's ``send``, to which its ``sendall`` comes down as well."""
    inner = _send(
        lambda self, data, more: original(self, data, *more[0], **more[1]), fileno, ledger
    )

    def send(self: Any, data: Any, *args: Any, **kwargs: Any) -> Any:
        return inner(self, data, (args, kwargs))

    return send


def _materialised(call: Any) -> Any:
    """``call``, whose first argument may be an iterator: it is read once, for all of us."""

    def patched(self: Any, items: Any, *args: Any) -> Any:
        if type(items) is not list and type(items) is not tuple:
            try:
                iterator = iter(items)
            except TypeError:
                pass  # the original says so
            else:
                items = list(iterator)
        return call(self, items, *args)

    return patched


def _sendmsg(original: Any, fileno: Any, ledger: Ledger) -> Any:
    lookup = ledger.table.get

    def before(self: Any, buffers: Any, *args: Any) -> Any:
        connection = lookup(fileno(self), UNKNOWN)
        if connection is UNKNOWN:
            connection = ledger.adopt(self)
        if connection is None or connection.transported:
            return None
        size = _sizes(buffers)
        if size is None:
            return None
        connection.asks(next(iter(buffers), b""))
        return connection, ledger.claim(connection, size, self), self

    def after(state: Any, sent: Any) -> None:
        connection, claim, _ = state
        if sent != claim.length:
            ledger.correct(connection, claim, sent)

    return _materialised(guarded(original, before, after, lambda state, _: ledger.failed(*state)))


def _connect(original: Any, fileno: Any, ledger: Ledger) -> Any:
    def before(self: Any, address: Any) -> Any:
        backend = ledger.backend_of(destination(self, address))
        return None if backend is None else (self, backend, time.monotonic())

    def failed(state: Any, error: BaseException) -> None:
        if isinstance(error, BlockingIOError):
            ledger.opened(*state)
        elif isinstance(error, OSError):
            ledger.refused(*state[1:])

    return guarded(original, before, lambda state, _: ledger.opened(*state), failed)


def _connect_ex(original: Any, fileno: Any, ledger: Ledger) -> Any:
    def before(self: Any, address: Any) -> Any:
        backend = ledger.backend_of(destination(self, address))
        return None if backend is None else (self, backend, time.monotonic())

    def after(state: Any, result: Any) -> None:
        if result == 0 or result in _UNDER_WAY:
            ledger.opened(*state)
        elif result != EISCONN:
            ledger.refused(*state[1:])

    return guarded(original, before, after)


def _close(original: Any, fileno: Any, ledger: Ledger) -> Any:
    lookup = ledger.table.get

    def before(self: Any) -> Any:
        fd = fileno(self)
        connection = lookup(fd, UNKNOWN)
        if connection is UNKNOWN:
            return None
        if connection is not None:
            connection.verify(self)  # for questions that come after its death
        return self, fd, connection

    def after(state: Any, _: Any) -> None:
        sock, fd, connection = state
        if fileno(sock) < 0:
            ledger.closed(fd, connection)

    return guarded(original, before, after, after)


def _detach(original: Any, fileno: Any, ledger: Ledger) -> Any:
    """Whoever takes the descriptor may be one of whom we see nothing, so not even None stays."""
    table = ledger.table

    def after(state: Any, fd: Any) -> None:
        if table.get(fd, UNKNOWN) is None:
            table.pop(fd, None)

    return guarded(original, lambda self: self, after)


def _init(original: Any, fileno: Any, ledger: Ledger) -> Any:
    table = ledger.table

    def after(self: Any, _: Any) -> None:
        if fileno(self) in table:
            ledger.reborn(self)

    return guarded(original, lambda self, *args, **kwargs: self, after)


_SOCKET: dict[str, Wrap] = {
    "__init__": _init,
    "connect": _connect,
    "connect_ex": _connect_ex,
    "send": _send,
    "sendall": _send,
    "sendmsg": _sendmsg,
    "close": _close,
    "detach": _detach,
}
_GEVENT: dict[str, Wrap] = {
    "__init__": _init,
    "connect": _connect,
    "connect_ex": _connect_ex,
    "send": _gevent_send,
    "sendmsg": _sendmsg,
    "close": _close,
    "detach": _detach,
}


def _ssl_send(original: Any, fileno: Any, ledger: Ledger) -> Any:
    """What leaves an SSL socket is longer than what was written: who and when, not where."""
    lookup = ledger.table.get

    def before(self: Any, data: Any, *args: Any, **kwargs: Any) -> None:
        if self._sslobj is None:
            return
        connection = lookup(fileno(self), UNKNOWN)
        if connection is UNKNOWN:
            connection = ledger.adopt(self)
        size = None if connection is None else _sizes((data,))
        if connection is not None and size is not None:
            connection.opaque = True
            connection.asks(data)
            ledger.claim(connection, size, self)

    return guarded(original, before)


def _transport_write(original: Any, fileno: Any, ledger: Ledger) -> Any:
    """asyncio's ``write``: what it cannot send at once leaves in some other context."""

    def before(self: Any, data: Any) -> Any:
        connection = _of_transport(self, ledger)
        size = None if connection is None else _sizes((data,))
        return None if size is None else _through_transport(self, ledger, connection, size, data)

    return guarded(original, before, failed=lambda state, _: ledger.correct(state[0], state[1], 0))


def _transport_writelines(original: Any, fileno: Any, ledger: Ledger) -> Any:
    def before(self: Any, lines: Any) -> Any:
        connection = _of_transport(self, ledger)
        size = None if connection is None else _sizes(lines)
        first = next(iter(lines), b"")
        return None if size is None else _through_transport(self, ledger, connection, size, first)

    return _materialised(
        guarded(original, before, failed=lambda state, _: ledger.correct(state[0], state[1], 0))
    )


def _of_transport(transport: Any, ledger: Ledger) -> Connection | None:
    if transport._conn_lost or transport._eof or transport._sock is None:
        return None
    connection: Connection | None = ledger.table.get(transport._sock_fd, UNKNOWN)
    if connection is UNKNOWN:
        connection = ledger.adopt(transport._sock)
    if connection is not None and type(transport._protocol).__module__ == "asyncio.sslproto":
        connection.opaque = True  # it may flush one task's bytes in another's context
    return connection


def _through_transport(
    transport: Any, ledger: Ledger, connection: Any, size: int, data: Any
) -> tuple[Connection, Claim]:
    connection.asks(data)
    if connection.transport is None:
        connection.transport = weakref.ref(transport)
    connection.transported = True
    return connection, ledger.claim(connection, size, transport._sock)
