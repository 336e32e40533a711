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

from seism_middleware.guard import fault, guarded, shielded
from seism_middleware.shown import shows
from seism_middleware.traffic import Request, current, leave, running

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


def _start(original: Any) -> Any:
    def before(self: Any) -> Any:
        request = running()
        if request is None:
            return None
        own = self.__dict__.get("run")
        doubt = _unseen() or doubtful.get() is True
        self.run = carried = partial(_carried, self, own, request, doubt, self.run)
        return self, carried, own

    return guarded(original, before, failed=lambda state, _: _restore(*state))


@shows("request")
def _carried(thread: Any, own: Any, request: Request, doubt: bool, run: Any) -> Any:
    """``run`` of a thread that ``request`` has started."""
    try:
        carried = thread.__dict__.get("run")
        if getattr(carried, "func", None) is _carried:
            _restore(thread, carried, own)
    except Exception:
        fault()
    current.set(request)
    doubtful.set(doubt)
    try:
        return run()
    finally:
        current.set(None)  # what the thread's own variables do when they go is nobody's


def _restore(thread: Any, carried: Any, own: Any) -> None:
    """The thread's own ``run``, unless somebody has put another in its place since."""
    if thread.__dict__.get("run") is carried:
        if own is None:
            del thread.run
        else:
            thread.run = own


def _submit(original: Any) -> Any:
    """``submit`` and ``spawn`` of a pool: a thread that is started here is everybody's."""

    whose = shielded(lambda: running())

    def submit(self: Any, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        request = whose()
        if request is None:
            return original(self, fn, *args, **kwargs)
        work = partial(_work, request, doubtful.get(), fn)
        token = current.set(None)
        try:
            return original(self, work, *args, **kwargs)
        finally:
            leave(token)

    return submit


@shows("request")
def _work(request: Request, doubt: bool | None, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
    token, doubted = current.set(request), doubtful.set(doubt)
    try:
        return fn(*args, **kwargs)
    finally:
        doubtful.reset(doubted)
        leave(token)


def _for_none(original: Any) -> Any:
    """A call that starts threads that are everybody's."""

    def done(token: Any, _: Any) -> None:
        leave(token)

    return guarded(original, lambda *args, **kwargs: current.set(None), done, done)


def _get(original: Any) -> Any:
    """``queue.Queue.get``. Last in, first out is how pools keep connections, not work."""
    stack = sys.modules["queue"].LifoQueue

    def before(self: Any, *args: Any, **kwargs: Any) -> None:
        if not isinstance(self, stack):
            if running() is None:
                fed.set(True)
            elif doubtful.get() is False:
                doubtful.set(True)

    return guarded(original, before)


@shielded
def _spawned(greenlet: Any) -> None:
    """Called by gevent where a greenlet is started, with the greenlet, which has not run."""
    request = running()
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
