"""psycopg 3, C and pure, blocking and asyncio: all that it sends, it sends in ``wait``."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from typing import Any

from seism_middleware.drivers import libpq
from seism_middleware.drivers.span import Patch, Spans, Track, track_of
from seism_middleware.guard import shielded
from seism_middleware.shown import shows


def patches(spans: Spans) -> Iterator[Patch]:
    """``wait`` of both kinds of connections, and the generator that makes connections."""
    module = sys.modules["psycopg"]

    def wait(original: Any) -> Any:
        def wait(self: Any, *args: Any, **kwargs: Any) -> Any:
            track = getattr(self, "_seism", None)
            if track is not None and (
                (away := track.away) is not None and away.changes == track.proxies
            ):
                return original(self, *args, **kwargs)
            return spans.call(
                track or _track_of(self),
                lambda: _socket(self.pgconn),
                lambda: original(self, *args, **kwargs),
            )

        return wait

    def wait_async(original: Any) -> Any:
        @shows("span")
        async def wait(self: Any, *args: Any, **kwargs: Any) -> Any:
            track = getattr(self, "_seism", None)
            if track is not None and (
                (away := track.away) is not None and away.changes == track.proxies
            ):
                return await original(self, *args, **kwargs)
            span = spans.enter(track or _track_of(self), _socket(self.pgconn))
            done = False
            try:
                result = await original(self, *args, **kwargs)
                done = True
                return result
            finally:
                if span is not None:
                    spans.leave(span, _socket(self.pgconn), done)

        return wait

    def connect(original: Any) -> Any:
        def _connect_gen(cls: Any, conninfo: str = "", *args: Any, **kwargs: Any) -> Any:
            steps = original(cls, conninfo, *args, **kwargs)
            return _connecting(spans, conninfo, steps)

        return _connect_gen

    yield module.Connection, "wait", wait
    yield module.AsyncConnection, "wait", wait_async
    yield module.Connection.__mro__[1], "_connect_gen", connect


@shielded
def _track_of(connection: Any) -> Track:
    """The track of a connection that has been made: libpq never gives it another socket."""
    track: Track = track_of(connection)
    track.lasting = True
    return track


def _socket(pgconn: Any) -> int | None:
    try:
        return int(pgconn.socket)
    except Exception:
        return None  # closed


@shielded
def _keep(made: Any, track: Track) -> int | None:
    """The descriptor of the connection ``made``, which has the track from now on."""
    made.__dict__["_seism"] = track
    track.lasting = True
    return _socket(made.pgconn)


def _addresses(conninfo: str, error: Exception) -> Iterator[tuple[str, int]]:
    module = sys.modules["psycopg"]
    if isinstance(error, module.OperationalError):
        yield from libpq.addresses(module.conninfo.conninfo_to_dict(conninfo))


def _connecting(
    spans: Spans, conninfo: str, steps: Generator[Any, Any, Any]
) -> Generator[Any, Any, Any]:
    """``steps``, which yield the descriptor that they wait for; it may be another in the end."""
    track = Track()
    span = spans.enter(track, None)
    fd = None
    try:
        try:
            wanted = next(steps)
            while True:
                if span is not None and wanted[0] != fd:
                    fd = wanted[0]
                    spans.tell(span, fd)
                try:
                    ready = yield wanted
                except BaseException as error:
                    wanted = steps.throw(error)
                else:
                    wanted = steps.send(ready)
        except StopIteration as stop:
            made = stop.value
            fd = _keep(made, track)
            if span is not None:
                spans.leave(span, fd)
            return made
    except BaseException as failure:
        if span is not None:
            spans.leave(span, fd, False)
            spans.failed(span, failure, lambda error: _addresses(conninfo, error))
        raise
