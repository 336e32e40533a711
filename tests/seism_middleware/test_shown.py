"""Frames show what a thread works for, by names that fail at import when they are gone."""

from __future__ import annotations

import asyncio
import sys
import threading

import pytest

from seism_middleware.shown import shows, values


@shows("request")
def outer(request: str, ready: threading.Event, go: threading.Event) -> None:
    inner([request.upper()], ready, go)


def inner(request: list[str], ready: threading.Event, go: threading.Event) -> None:
    innermost(request[0] + "!", ready, go)


@shows("span")
def innermost(span: str, ready: threading.Event, go: threading.Event) -> None:
    ready.set()
    go.wait(10)


def test_marked_functions_of_another_thread_show_their_variables() -> None:
    ready, go = threading.Event(), threading.Event()
    thread = threading.Thread(target=outer, args=("r1", ready, go))
    thread.start()
    try:
        assert ready.wait(10)
        assert thread.ident is not None
        assert list(values(sys._current_frames()[thread.ident])) == ["R1!", "r1"]
    finally:
        go.set()
        thread.join()
    assert list(values(None)) == []


def test_a_name_that_is_gone_fails_when_the_function_is_made() -> None:
    with pytest.raises(LookupError, match="renamed: no variable 'request'"):

        @shows("request")
        def renamed(query: str) -> None: ...


def test_what_is_read_of_asyncio_is_there() -> None:
    """``harm.unread`` counts what a stream reader holds by these names of the library's."""

    async def names() -> None:
        reader = asyncio.StreamReader()
        assert isinstance(reader._buffer, bytearray)  # type: ignore[attr-defined]
        protocol = asyncio.StreamReaderProtocol(reader)
        assert protocol._stream_reader is reader  # type: ignore[attr-defined]

    asyncio.run(names())
