"""Work that is moved to another thread or greenlet keeps its request.

Only the request moves, not the context: what the app keeps in context variables of its own
reaches a thread exactly if it did so before. Outside of a request everything is as it was.

* ``threading.Thread.start``: the thread works for the request that started it. One that
  takes from a queue may be a worker of a pool, which works for others as well: from then on
  what it sends is only possibly the request's. gevent's own queues, which ``patch_all`` puts
  in the place of ``queue``, cannot be watched: there it is so from the start.
* ``ThreadPoolExecutor.submit``, and so ``run_in_executor``: each task works for the request
  that submitted it; the pool's threads for none. The same for gevent's thread pools.
* gevent's greenlets, however they are spawned but by ``spawn_raw``: they work for the
  request that started them. gevent tells of each (``Greenlet.add_spawn_callback``); its
  class is compiled and could not be patched. One that lives on and serves other requests
  from a ``gevent.queue`` is not recognised while the request that started it runs.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextvars import Context, ContextVar
from functools import partial
from typing import Any

from seism_middleware.traffic import Request, current, leave

doubtful: ContextVar[bool | None] = ContextVar("seism_doubtful", default=None)
"""None where the request is the running code's own. In a thread that a request has started:
whether that thread may have turned to other work."""

fed: ContextVar[bool] = ContextVar("seism_fed", default=False)
"""Whether the running code has taken work from a queue outside of any request: it may be a
request's, as in the threads of a client that has threads of its own."""


def unsure() -> bool:
    """Whether what is sent outside of any request may be a request's all the same."""
    return fed.get() or _unseen()


def _unseen() -> bool:
    """gevent's queues are in the place of the standard library's, and cannot be watched."""
    return "queue" in sys.modules and sys.modules["queue"].Queue.__module__ != "queue"


Wrapped = tuple[type[Any], str, Callable[[Any], Any]]
"""(class, the method's name, original -> the new method)."""


def methods() -> Iterator[Wrapped]:
    """What there is to patch in the modules that are imported by now."""
    yield threading.Thread, "start", _start
    for module, name, method, wrap in _LATER:
        cls = getattr(sys.modules.get(module), name, None)
        if cls is not None and cls.__module__ == module:
            yield cls, method, wrap


def hook_greenlets() -> tuple[str, Callable[[], None]] | None:
    """Have gevent, where it is imported, tell of its greenlets: (name, how to undo it)."""
    module = sys.modules.get("gevent.greenlet")
    if module is None:
        return None
    greenlet = module.Greenlet
    greenlet.add_spawn_callback(_spawned)
    return (
        "gevent.greenlet.Greenlet.add_spawn_callback",
        lambda: greenlet.remove_spawn_callback(_spawned),
    )


def _running() -> Request | None:
    request = current.get()
    return request if request is not None and request.over is None else None


def _start(original: Any) -> Any:
    def start(self: Any) -> Any:
        request = _running()
        if request is None:
            return original(self)
        own = self.__dict__.get("run")
        run = self.run
        doubt = _unseen() or doubtful.get() is True

        def carried() -> Any:
            restore()
            current.set(request)
            doubtful.set(doubt)
            return run()

        def restore() -> None:
            if self.__dict__.get("run") is carried:
                if own is None:
                    del self.run
                else:
                    self.run = own

        self.run = carried
        try:
            return original(self)
        except BaseException:
            restore()
            raise

    return start


def _submit(original: Any) -> Any:
    """``submit`` and ``spawn`` of a pool: a thread that is started here is everybody's."""

    def submit(self: Any, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        request = _running()
        if request is None:
            return original(self, fn, *args, **kwargs)
        token = current.set(None)
        try:
            work = partial(_work, request, doubtful.get(), fn)
            return original(self, work, *args, **kwargs)
        finally:
            leave(token)

    return submit


def _work(request: Request, doubt: bool | None, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
    token, doubted = current.set(request), doubtful.set(doubt)
    try:
        return fn(*args, **kwargs)
    finally:
        doubtful.reset(doubted)
        leave(token)


def _for_none(original: Any) -> Any:
    """A call that starts threads that are everybody's."""

    def started(self: Any, *args: Any, **kwargs: Any) -> Any:
        token = current.set(None)
        try:
            return original(self, *args, **kwargs)
        finally:
            leave(token)

    return started


def _get(original: Any) -> Any:
    """``queue.Queue.get``. Last in, first out is how pools keep connections, not work."""
    stack = sys.modules["queue"].LifoQueue

    def get(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(self, stack):
            if _running() is None:
                fed.set(True)
            elif doubtful.get() is False:
                doubtful.set(True)
        return original(self, *args, **kwargs)

    return get


def _spawned(greenlet: Any) -> None:
    """Called by gevent where a greenlet is started, with the greenlet, which has not run."""
    request = _running()
    if request is None or greenlet.gr_context is not None:
        return
    context = Context()
    context.run(current.set, request)
    context.run(doubtful.set, doubtful.get() is True)
    greenlet.gr_context = context


_LATER: tuple[tuple[str, str, str, Callable[[Any], Any]], ...] = (
    ("concurrent.futures.thread", "ThreadPoolExecutor", "submit", _submit),
    ("multiprocessing.pool", "ThreadPool", "__init__", _for_none),
    ("gevent.threadpool", "ThreadPool", "spawn", _submit),
    ("queue", "Queue", "get", _get),
)
