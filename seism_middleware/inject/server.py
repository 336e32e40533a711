"""Wraps the app as its server takes it, whichever of the known servers that is.

Nothing is imported for that: once a server's module has been imported by the app, the one function
that gets or loads the app is patched. ``Injection.names`` lists the patches and ``uninstall`` takes
them back. The observer itself is imported when an app is wrapped, so after any monkey patching.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from seism_middleware.drivers import early
from seism_middleware.imports import Imports
from seism_middleware.inject import watch

MARK = "SEISM_INJECTED"
WSGI, ASGI = "wsgi", "asgi"

Wrap = Callable[[Any, str, str], Any]
"""``(app, interface, server) -> the app, observed``."""
Patch = Callable[[Any, "Hook", Wrap], Any]
"""``(the original function, its hook, wrap) -> what is put in its place``."""


@dataclass(frozen=True, slots=True)
class Hook:
    """The place where a server takes its app: ``function`` (dotted) of ``module``."""

    server: str
    module: str
    function: str
    interface: str
    name: str
    """Of the argument, or of the attribute, that holds the app."""
    patch: Patch


def argument(original: Any, hook: Hook, wrap: Wrap) -> Any:
    """The app is an argument of the function."""
    code = original.__code__
    at = code.co_varnames[: code.co_argcount].index(hook.name)

    def patched(*args: Any, **kwargs: Any) -> Any:
        if len(args) > at:
            args = (*args[:at], wrap(args[at], hook.interface, hook.server), *args[at + 1 :])
        elif hook.name in kwargs:
            kwargs[hook.name] = wrap(kwargs[hook.name], hook.interface, hook.server)
        return original(*args, **kwargs)

    return patched


def attribute(original: Any, hook: Hook, wrap: Wrap) -> Any:
    """The app is an attribute of ``self`` after the call."""

    def patched(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(self, *args, **kwargs)
        app = getattr(self, hook.name, None)
        if app is not None:
            setattr(self, hook.name, wrap(app, hook.interface, hook.server))
        return result

    return patched


def gunicorn(original: Any, hook: Hook, wrap: Wrap) -> Any:
    """As ``attribute``, for workers of gunicorn's own; those of others belong to another server."""
    inner = attribute(original, hook, wrap)

    def patched(self: Any, *args: Any, **kwargs: Any) -> Any:
        own = any(
            cls.__module__.startswith("gunicorn.workers.") and cls.__name__ != "Worker"
            for cls in type(self).__mro__
        )
        return (inner if own else original)(self, *args, **kwargs)

    return patched


def request_handler(original: Any, hook: Hook, wrap: Wrap) -> Any:
    """aiohttp has an interface of its own: the server's method that answers one request."""
    handlers: list[Any] = []

    def patched(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not handlers:
            handlers.append(wrap(original, hook.interface, hook.server))
            handle = getattr(self, "_request_handler", None)
            watch.note_routes(getattr(handle, "__self__", None))
        return handlers[0](self, *args, **kwargs)

    return patched


AIOHTTP = "aiohttp"
"""The interface of that server."""

HOOKS = (
    Hook("gunicorn", "gunicorn.workers.base", "Worker.load_wsgi", WSGI, "wsgi", gunicorn),
    Hook("gunicorn", "gunicorn.workers.gasgi", "ASGIWorker.load_wsgi", ASGI, "asgi", attribute),
    Hook("uvicorn", "uvicorn.config", "Config.load", ASGI, "loaded_app", attribute),
    Hook("hypercorn", "hypercorn.app_wrappers", "ASGIWrapper.__init__", ASGI, "app", argument),
    Hook("hypercorn", "hypercorn.app_wrappers", "WSGIWrapper.__init__", WSGI, "app", argument),
    Hook("waitress", "waitress.server", "BaseWSGIServer.__init__", WSGI, "application", argument),
    Hook("granian", "granian.wsgi", "_callback_wrapper", WSGI, "callback", argument),
    Hook("granian", "granian.asgi", "_callback_wrapper", ASGI, "callback", argument),
    Hook("daphne", "daphne.server", "Server.__init__", ASGI, "application", argument),
    Hook("werkzeug", "werkzeug.serving", "BaseWSGIServer.__init__", WSGI, "app", argument),
    Hook("wsgiref", "wsgiref.simple_server", "WSGIServer.set_app", WSGI, "application", argument),
    Hook("cheroot", "cheroot.wsgi", "Server.__init__", WSGI, "wsgi_app", argument),
    Hook("gevent", "gevent.pywsgi", "WSGIServer.__init__", WSGI, "application", argument),
    Hook(
        "aiohttp", "aiohttp.web_protocol", "RequestHandler._handle_request", AIOHTTP, "",
        request_handler,
    ),
)  # fmt: skip
"""Django's runserver and Bottle's own server are wsgiref's; pserve starts one of the others."""
JOBS = {"celery.signals": "seism_middleware.celery", "rq.worker": "seism_middleware.rq"}
"""The module that a queue's worker imports -> the adapter that observes its jobs."""
SERVERS = (*dict.fromkeys(hook.server for hook in HOOKS), "uwsgi")


class _Names:
    """The modules whose import is of interest: the servers', and the app's own under uWSGI.

    uWSGI's C code imports the app's module and takes the app from it.
    """

    def __init__(self, hooks: tuple[Hook, ...], follows_uwsgi: bool) -> None:
        self._names = {hook.module for hook in hooks} | JOBS.keys()
        self._follows_uwsgi = follows_uwsgi
        self._said = False

    def __contains__(self, name: object) -> bool:
        return name in self._names or (self._follows_uwsgi and name == self.uwsgi_app()[0])

    def uwsgi_app(self) -> tuple[str, str]:
        """The app's module and the app's name in it, as uWSGI was told; empty elsewhere."""
        options = getattr(sys.modules.get("uwsgi"), "opt", None)
        if not options:
            return "", ""
        told = _text(options, "module") or _text(options, "wsgi")
        if not told and (_text(options, "wsgi-file") or _text(options, "file")) and not self._said:
            self._said = True
            say("uWSGI's wsgi-file cannot be observed; use --module MODULE:application instead")
        module, _, name = told.partition(":")
        return module, name or _text(options, "callable") or "application"


def _text(options: dict[str, Any], name: str) -> str:
    value = options.get(name)
    return value.decode() if isinstance(value, bytes) else ""


class Injection:
    """The patches of this process; ``only`` is the one server whose app is observed, if any."""

    def __init__(self, only: str = "") -> None:
        self._hooks = tuple(hook for hook in HOOKS if only in ("", hook.server))
        self._names = _Names(self._hooks, only in ("", "uwsgi"))
        self._imports = Imports(self._names, self._imported)
        self._done: list[tuple[Any, str, Any, Any]] = []
        self._wrapped: list[Any] = []
        self._adapters: list[Any] = []
        """Those of jobs."""

    @property
    def names(self) -> tuple[str, ...]:
        """The dotted names of everything that is patched now."""
        return tuple(f"{_of(owner)}.{name}" for owner, name, _, _ in self._done)

    def install(self) -> None:
        """Patch the servers that have been imported, and each other once it is imported."""
        for module in dict.fromkeys(hook.module for hook in self._hooks):
            if module in sys.modules:
                self._imported(module)
        self._imports.install()

    def uninstall(self) -> None:
        """Restore each original, unless someone has patched over it since; repeatable."""
        self._imports.uninstall()
        for owner, name, put, original in reversed(self._done):
            if vars(owner).get(name) is put:
                setattr(owner, name, original)
        self._done.clear()
        while self._adapters:
            self._adapters.pop().release()

    def _imported(self, module: str) -> None:
        there = sys.modules[module]
        if module in JOBS:
            adapter = importlib.import_module(JOBS[module])
            adapter.observe()
            self._adapters.append(adapter)
        for hook in self._hooks:
            if hook.module == module:
                try:
                    self._patch(there, hook)
                except Exception as error:
                    say(f"{hook.server}: this version is not known, its app is not observed: "
                        f"{hook.module}.{hook.function}: {error!r}")  # fmt: skip
        if module == self._names.uwsgi_app()[0]:
            name = self._names.uwsgi_app()[1]
            app = getattr(there, name, None)
            if app is not None:
                setattr(there, name, self.wrap(app, WSGI, "uwsgi"))
                self._done.append((there, name, getattr(there, name), app))

    def _patch(self, module: Any, hook: Hook) -> None:
        cls, _, name = hook.function.rpartition(".")
        owner = getattr(module, cls) if cls else module
        original = vars(owner)[name]
        put = hook.patch(original, hook, self.wrap)
        put.__name__, put.__qualname__ = name, hook.function
        put.__module__, put.__doc__ = hook.module, original.__doc__
        put.__wrapped__ = original
        setattr(owner, name, put)
        self._done.append((owner, name, put, original))

    def wrap(self, app: Any, interface: str, server: str) -> Any:
        """``app`` with the observer around it; ``app`` itself if it has one already, or on failure.

        Says on standard error what it has wrapped.
        """
        try:
            return self._observed(app, interface, server)
        except Exception as error:
            say(f"{server}: the app is not observed: {error!r}")
            return app

    def _observed(self, app: Any, interface: str, server: str) -> Any:
        # The observer patches threads and sockets: it must not come before gevent does.
        from seism_middleware.asgi import SeismASGI
        from seism_middleware.frameworks import inside
        from seism_middleware.wsgi import SeismWSGI

        where = f"under {server}, process {os.getpid()}"
        found: Any
        if interface == AIOHTTP:
            from seism_middleware.aiohttp import observed

            found = observed(app)
            say(f"observing the aiohttp app {where}")
        else:
            known = [wrapper for wrapper in self._wrapped if app in (wrapper, wrapper.app)]
            if known:
                return known[0]
            if any(isinstance(each, SeismWSGI | SeismASGI) for each in inside(app)):
                say(f"{_shown(app)} {where}, observes itself already")
                return app
            found = (SeismASGI if interface == ASGI else SeismWSGI)(app)
            self._wrapped.append(found)
            watch.note_routes(app)
            # Servers put layers of their own around it.
            own = (each for each in inside(app) if not _shown(each).startswith(f"{server}."))
            say(f"observing {_shown(next(own, app))} ({interface}) {where}")
        os.environ[MARK] = f"{os.getpid()}:{server}"
        return found


def _shown(app: Any) -> str:
    """The app's dotted name, or that of its class."""
    named = app if isinstance(getattr(app, "__qualname__", None), str) else type(app)
    return _of(named)


def _of(owner: Any) -> str:
    if not hasattr(owner, "__qualname__"):
        return str(owner.__name__)
    return f"{owner.__module__}.{owner.__qualname__}"


def say(text: str) -> None:
    """One line for whoever reads the app's log; never fails."""
    try:
        sys.stderr.write(f"seism: inject: {text}\n")
        sys.stderr.flush()
    except Exception:  # a daemon without standard error
        pass


def start() -> None:
    """Install the hooks, if this process may serve the app."""
    told = os.environ.get(MARK, "")
    pid, _, server = told.partition(":")
    if not told:
        os.environ[MARK] = f"{os.getpid()}:"
    if server and pid != str(os.getpid()) and not _is_worker():
        return
    watch.start()
    early.start()
    Injection(server).install()


def _is_worker() -> bool:
    """Whether this process, which a server's process has started, is one of its workers."""
    return any(os.environ.get(name) for name in _RELOADED) or any(
        word in line for line in sys.orig_argv for word in _SPAWNED
    )


_SPAWNED = ("multiprocessing.spawn", "multiprocessing.forkserver", "hupper.ipc")
"""What the command line of a worker has that its server started afresh."""
_RELOADED = ("RUN_MAIN", "WERKZEUG_RUN_MAIN", "DJANGO_AUTORELOAD_ENV")
"""Variables that Django's and Werkzeug's reloaders set for their workers."""
