"""What runs outside of requests: the threads and tasks there are, and those that failed.

An exception that leaves a thread goes to ``threading.excepthook``, that of a greenlet to gevent's
hub, and that of a task that nobody has awaited to the event loop's exception handler, once the task
is collected. Each of these is patched on its class or module, says what has failed, and then does
what it did before: whatever the app has installed there still runs, and logs the same.

A task that somebody keeps and nobody awaits tells nobody of its exception. Such tasks are looked
for when a census is taken, in asyncio's own set of tasks; nothing is added to a task.

Names are those of code (``app.consume``), never those that the app gives: they may hold values.
"""

from __future__ import annotations

import socket
import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from types import CodeType, TracebackType
from typing import Any

from seism_middleware.contract import (
    BACKGROUND,
    ELSEWHERE,
    GREENLET,
    LIBRARIES,
    TASK,
    THREAD,
    BackgroundEnded,
    Running,
)
from seism_middleware.frames import OURS, frames, shown, type_name
from seism_middleware.guard import guarded, shielded
from seism_middleware.ledger import Ledger
from seism_middleware.snapshot import snapshot
from seism_middleware.tcp import address_text

TAKEN = 0.25
"""Seconds within which whoever waits for a task takes its exception."""
MAX_NAMES = 64
"""Different threads and tasks listed in one census; those that are most come first."""
MAX_CONNECTIONS = 20
"""Connections listed of one that has ended."""
MAX_TOLD = 1000
"""Ends that one process tells of."""
CHAIN, FRAMES, VALUES = 5, 20, 60
"""Exceptions of a chain, frames of each, and values of a frame in which a socket is looked for."""

_RUNNERS = ("threading.py", "gevent/greenlet.py", "asyncio/runners.py")
"""Their frames stand above those of what they run."""

Patch = tuple[Any, str, Callable[[Any], Any]]
"""(class or module, the function's name, original -> the new function)."""


class Background:
    """Of one process. ``listeners`` are told of each end."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.forget()

    def forget(self) -> None:
        """Know nothing, as a forked child does."""
        self.listeners: list[Callable[[BackgroundEnded], None]] = []
        self._told = 0
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()
        """Tasks that have been told of."""
        self._failed: dict[int, tuple[float, weakref.ref[Any]]] = {}
        """Tasks whose exception nobody has taken so far, and when that was seen."""

    def patches(self) -> Iterator[Patch]:
        """What there is to patch in the modules that are imported by now."""
        yield threading, "excepthook", self._excepthook
        for module, name in (
            ("asyncio.base_events", "BaseEventLoop"),
            ("uvloop", "Loop"),
        ):
            cls = getattr(sys.modules.get(module), name, None)
            if cls is not None:
                yield cls, "call_exception_handler", self._loop_handler
        hub = getattr(sys.modules.get("gevent.hub"), "Hub", None)
        if hub is not None:
            yield hub, "handle_error", self._hub_handler

    def running(self) -> tuple[Running, ...]:
        """The threads and tasks that run now, by their names."""
        found: Counter[tuple[str, str]] = Counter()
        for thread in threading.enumerate():
            code = _thread_code(thread)
            if code is not None and not code.co_filename.startswith(OURS):
                found[THREAD, name_of(code)] += 1
        for task in _tasks():
            code = None if task.done() else _coroutine_code(task)
            if code is not None:
                found[TASK, name_of(code)] += 1
        return tuple(
            Running(what, name, count) for (what, name), count in found.most_common(MAX_NAMES)
        )

    def look(self) -> None:
        """Find the tasks that have failed. ``tick`` says which of them nobody has waited for."""
        now = time.monotonic()
        for task in _tasks():
            if task.done() and task not in self._known and _is_untaken(task):
                self._failed.setdefault(id(task), (now, weakref.ref(task)))

    def tick(self, now: float) -> float | None:
        """Tell of tasks whose exception nobody has taken; the seconds until the next is due."""
        for key, (seen, reference) in list(self._failed.items()):
            if now - seen < TAKEN:
                continue
            del self._failed[key]
            task = reference()
            if task is not None and _is_untaken(task):
                self._task_failed(task, task._exception, seen)
        waits = [seen + TAKEN - now for seen, _ in self._failed.values()]
        return max(0.01, min(waits)) if waits else None

    def _excepthook(self, original: Any) -> Any:
        def before(args: Any) -> None:
            if args.exc_type is not SystemExit and args.exc_value is not None:
                error = args.exc_value
                self._ended(THREAD, threading.get_ident(), error, error.__traceback__)

        return guarded(original, before)

    def _hub_handler(self, original: Any) -> Any:
        def before(hub: Any, context: Any, type: Any, value: Any, tb: Any) -> None:
            greenlet = getattr(sys.modules.get("gevent.greenlet"), "Greenlet", None)
            failed = greenlet is not None and isinstance(context, greenlet)
            if failed and isinstance(value, Exception):
                self._ended(GREENLET, None, value, tb)

        return guarded(original, before)

    def _loop_handler(self, original: Any) -> Any:
        def before(loop: Any, context: Any) -> None:
            task, error = context.get("future"), context.get("exception")
            if error is not None and hasattr(task, "get_coro"):
                self._task_failed(task, error, time.monotonic())

        return guarded(original, before)

    def _task_failed(self, task: Any, error: BaseException, at: float) -> None:
        if task not in self._known:
            self._known.add(task)
            code = _coroutine_code(task)
            self._ended(TASK, weakref.ref(task), error, error.__traceback__, code, at)

    @shielded
    def _ended(
        self,
        what: str,
        writer: Any,
        error: BaseException,
        traceback: TracebackType | None,
        code: CodeType | None = None,
        at: float = 0.0,
    ) -> None:
        if self._told >= MAX_TOLD:
            return
        self._told += 1
        code = code or _started(traceback)
        written = [] if writer is None else self._ledger.written_by(writer)
        record = BackgroundEnded(
            what=what,
            name=name_of(code) if code is not None else BACKGROUND,
            at=at or time.monotonic(),
            exception=type_name(type(error)),
            frames=frames(traceback),
            connections=tuple(dict.fromkeys([*self._held_by(error), *written]))[:MAX_CONNECTIONS],
        )
        for told in list(self.listeners):
            told(record)

    def _held_by(self, error: BaseException) -> Iterator[str]:
        """The app's ends of the connections that the frames of ``error`` held."""
        chain: BaseException | None = error
        for _ in range(CHAIN):
            if chain is None:
                return
            for value in _held(chain.__traceback__):
                local = self._local(value)
                if local:
                    yield local
            chain = chain.__cause__ or chain.__context__

    def _local(self, value: Any) -> str:
        """The address of ``value`` if it is a socket, or a stream, that leads to a proxy."""
        if issubclass(type(value), socket.socket):
            known = self._ledger.of_socket(value)
            if known:
                return known
            try:
                return self._if_known(value.getsockname())
            except OSError:
                return ""
        transport = _attributes(value).get("_transport")
        told = getattr(type(transport), "get_extra_info", None)
        return self._if_known(told(transport, "sockname")) if told is not None else ""

    def _if_known(self, address: Any) -> str:
        if type(address) is not tuple or len(address) < 2:
            return ""
        local = address_text(address)
        return local if self._ledger.knows(local) else ""


def name_of(code: CodeType) -> str:
    """``app.consume``: the module as its file names it, and the function in it."""
    path = shown(code.co_filename)
    parts = path.removesuffix(".py").split("/")
    if parts[0] in LIBRARIES:
        del parts[0]
    elif parts[0] == ELSEWHERE:
        del parts[:-1]
    if len(parts) > 1 and parts[-1] == "__init__":
        del parts[-1]
    return ".".join([*parts, code.co_qualname])[-200:]


def _thread_code(thread: threading.Thread) -> CodeType | None:
    """What ``thread`` runs; None for one that Python has not started, and for the main one."""
    if isinstance(thread, threading._DummyThread) or thread is threading.main_thread():
        return None
    run = type(thread).run
    target: Any = thread.__dict__.get("_target") if run is threading.Thread.run else run
    while type(target).__name__ == "partial":
        target = target.func
    target = getattr(target, "__func__", target)
    code = getattr(target, "__code__", None)
    if code is None:
        called = vars(type(target)).get("__call__")
        code = getattr(called, "__code__", None)
    return code if isinstance(code, CodeType) else None


def _started(traceback: TracebackType | None) -> CodeType | None:
    """The outermost function of ``traceback`` that neither a runner nor Seism has put there."""
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if not code.co_filename.endswith(_RUNNERS) and not code.co_filename.startswith(OURS):
            return code
        traceback = traceback.tb_next
    return None


def _tasks() -> list[Any]:
    """The tasks of all event loops, those included that are done and not collected yet."""
    module = sys.modules.get("asyncio.tasks")
    # The second is the first's name up to Python 3.11.
    known = getattr(module, "_scheduled_tasks", None) or getattr(module, "_all_tasks", None)
    return [] if known is None else snapshot(known)


def _is_untaken(task: Any) -> bool:
    """Whether ``task`` failed and nobody has asked for its exception."""
    error = getattr(task, "_exception", None)
    return isinstance(error, Exception) and getattr(task, "_log_traceback", False) is True


def _coroutine_code(task: Any) -> CodeType | None:
    coroutine = task.get_coro()
    code = getattr(coroutine, "cr_code", None) or getattr(coroutine, "gi_code", None)
    return code if isinstance(code, CodeType) else None


def _held(traceback: TracebackType | None) -> Iterator[Any]:
    """The values of the innermost frames, and the attributes of those that are a ``self``."""
    stack = []
    while traceback is not None:
        stack.append(traceback.tb_frame)
        traceback = traceback.tb_next
    for frame in stack[-FRAMES:]:
        values = frame.f_locals
        yield from list(values.values())[:VALUES]
        yield from list(_attributes(values.get("self")).values())[:VALUES]


def _attributes(value: Any) -> dict[str, Any]:
    """``value.__dict__``, past whatever its class makes of attributes; empty where it has none."""
    try:
        found = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return {}
    return found if type(found) is dict else {}
