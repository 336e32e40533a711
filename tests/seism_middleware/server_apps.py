"""Apps with one path for each thing that WSGI and ASGI allow, bare and wrapped.

``wsgi``, ``asgi`` are bare, ``seen_wsgi``, ``seen_asgi`` the same under the middleware.
``/told`` says what happened inside before: closes, reads, starts.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from seism_middleware.asgi import SeismASGI
from seism_middleware.wsgi import SeismWSGI

told: list[str] = []
PLAIN = [("Content-Type", "text/plain")]
LARGE = b"x" * 65536
Start = Callable[..., Callable[[bytes], object]]


class Body:
    """Chunks, and an exception after them if ``error`` is given; notes that it was closed."""

    def __init__(self, *chunks: bytes, error: type[Exception] | None = None) -> None:
        self._chunks = iter(chunks)
        self._error = error

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        for chunk in self._chunks:
            return chunk
        raise self._error or StopIteration

    def close(self) -> None:
        told.append("closed")


class Read:
    """A file that notes each read: ``sendfile`` makes none."""

    def __init__(self) -> None:
        self._file = Path(__file__).open("rb")  # noqa: SIM115
        self.fileno, self.seek, self.tell = self._file.fileno, self._file.seek, self._file.tell

    def read(self, size: int = -1) -> bytes:
        told.append("read")
        return self._file.read(size)

    def close(self) -> None:
        told.append("closed")
        self._file.close()


def wsgi(environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
    path = environ["PATH_INFO"].strip("/")
    if path == "told":
        said, told[:] = " ".join(told), []
        start_response("200 OK", PLAIN)
        return [said.encode()]
    if path == "before":
        raise KeyError("secret")
    if path == "unread":  # never asks for what the client keeps back
        start_response("403 Forbidden", PLAIN)
        return [b"no"]
    if path == "read":
        start_response("200 OK", PLAIN)
        return [environ["wsgi.input"].read(3)]
    if path == "file":
        start_response("200 OK", [("Content-Length", str(Path(__file__).stat().st_size))])
        return environ["wsgi.file_wrapper"](Read())  # type: ignore[no-any-return]
    if path == "write":
        write = start_response("200 OK", PLAIN)
        write(b"one")
        write(b"two")
        return [b"three"]
    if path in ("excused", "too-late"):
        return excused(path == "too-late", start_response)
    if path == "busy":
        start_response("503 Busy", [*PLAIN, ("Retry-After", "3")])
        return [b"later"]
    if path == "short":
        start_response("200 OK", [("Content-Length", "10")])
        return Body(b"four")
    start_response("200 OK", PLAIN)
    if path == "after":
        return Body(error=KeyError)
    if path == "chunk":
        return Body(b"one", error=KeyError)
    if path == "generator":
        return (chunk for chunk in (b"one", b"two"))
    if path == "empty":
        return Body()
    if path == "endless":
        return Body(*[LARGE] * 10_000)
    return [b"one item"]


def excused(late: bool, start_response: Start) -> Iterator[bytes]:
    start_response("200 OK", PLAIN)
    if late:
        yield b"one"
    try:
        raise KeyError("secret")
    except KeyError:
        start_response("500 Sorry", PLAIN, sys.exc_info())
    yield b"sorry"


seen_wsgi = SeismWSGI(wsgi)


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await lifespan(scope, receive, send)
    elif scope["type"] == "websocket":
        await websocket(receive, send)
    else:
        await http(scope["path"].strip("/"), receive, send)


async def lifespan(scope: Any, receive: Any, send: Any) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            told.append("started")
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def websocket(receive: Any, send: Any) -> None:
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": 2 * message["text"]})
    told.append(message["type"])


async def http(path: str, receive: Any, send: Any) -> None:
    async def start(status: int, *headers: tuple[bytes, bytes]) -> None:
        await send({"type": "http.response.start", "status": status, "headers": list(headers)})

    async def body(data: bytes, more: bool = False) -> None:
        await send({"type": "http.response.body", "body": data, "more_body": more})

    if path == "told":
        said, told[:] = " ".join(told), []
        await start(200, (b"content-length", b"%d" % len(said)))
        await body(said.encode())
    elif path == "before":
        raise KeyError("secret")
    elif path == "unread":
        await start(403, (b"content-length", b"2"))
        await body(b"no")
    elif path == "read":
        await start(200)
        await body((await receive())["body"])
    elif path == "busy":
        await start(503, (b"retry-after", b"3"))
        await body(b"later")
    elif path == "short":
        await start(200, (b"content-length", b"10"))
        await body(b"four")
    elif path == "after":
        await start(200)
        raise KeyError("secret")
    elif path == "chunk":
        await start(200)
        await body(b"one", True)
        raise KeyError("secret")
    elif path == "generator":
        await start(200)
        await body(b"one", True)
        await body(b"two")
    elif path == "empty":
        await start(200)
        await body(b"")
    elif path == "waits":
        told.append("asked")
        while (await receive())["type"] != "http.disconnect":
            pass
        told.append("disconnected")
    elif path == "endless":
        await start(200)
        try:
            for _ in range(10_000):
                await body(LARGE, True)
                await asyncio.sleep(0)
            await body(b"")
        finally:
            told.append("closed")
    else:
        await start(200, (b"content-length", b"8"))
        await body(b"one item")


seen_asgi = SeismASGI(asgi)
