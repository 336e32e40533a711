from __future__ import annotations

import contextlib
import http.client
import io
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import pytest
import waitress.server

from seism_middleware import observer, signals
from seism_middleware.contract import (
    ENVIRON_REQUEST,
    ENVIRON_ROUTE,
    Goodbye,
    Hello,
    RequestBegun,
    RequestEnded,
)
from seism_middleware.wsgi import SeismWSGI
from tests.seism_middleware.peer import Peer, eventually

START = Callable[..., Any]
HEADERS = [("Content-Type", "text/plain")]


def sized(body: bytes, status: str = "200 OK", *more: tuple[str, str], length: int = -1) -> Any:
    def app(environ: dict[str, Any], start_response: START) -> list[bytes]:
        size = str(len(body) if length < 0 else length)
        start_response(status, [*HEADERS, ("Content-Length", size), *more])
        return [body]

    return app


def generator(environ: dict[str, Any], start_response: START) -> Iterator[bytes]:
    start_response("200 OK", HEADERS)
    yield b"one"
    yield b"two"


def writer(environ: dict[str, Any], start_response: START) -> list[bytes]:
    write = start_response("200 OK", [*HEADERS, ("Content-Length", "6")])
    write(b"one")
    write(b"two")
    return []


def raises_before(environ: dict[str, Any], start_response: START) -> list[bytes]:
    raise KeyError("secret")


def raises_after_start(environ: dict[str, Any], start_response: START) -> Iterator[bytes]:
    start_response("200 OK", HEADERS)
    raise KeyError("secret")
    yield b""


def raises_after_chunk(environ: dict[str, Any], start_response: START) -> Iterator[bytes]:
    start_response("200 OK", HEADERS)
    yield b"one"
    raise KeyError("secret")


def exits(environ: dict[str, Any], start_response: START) -> list[bytes]:
    raise SystemExit(1)


class RaisesInClose:
    def __init__(self, *headers: tuple[str, str]) -> None:
        self.headers = headers

    def __call__(self, environ: dict[str, Any], start_response: START) -> Any:
        start_response("200 OK", [*HEADERS, *self.headers])
        return self

    def __iter__(self) -> Iterator[bytes]:
        return iter([b"body"])

    def close(self) -> None:
        raise OSError("close")


def call(app: Any, read: int | None = None, **environ: Any) -> tuple[list[bytes], Any]:
    """What a server does: iterate (``read`` chunks at most), and close whatever happens."""
    setup_testing_defaults(environ)
    chunks: list[bytes] = []
    error = None

    def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
        return chunks.append

    try:
        iterable = app(environ, start_response)
        try:
            for chunk in iterable:
                chunks.append(chunk)
                if read is not None and len(chunks) >= read:
                    break
        finally:
            if hasattr(iterable, "close"):
                iterable.close()
    except BaseException as raised:
        error = raised
    return chunks, error


def observe(peer: Peer, app: Any, **more: Any) -> RequestEnded:
    call(SeismWSGI(app, sidecar=peer.address), **more)
    observer.configured(peer.address, None, "wsgi").close()
    peer.wait(Goodbye)
    return peer.records(RequestEnded)[-1]


CASES = [
    (sized(b"abc"), 200, "complete", ""),
    (sized(b"abc", length=5), 200, "truncated", ""),
    (sized(b"", length=0), 200, "complete", ""),
    (sized(b"sorry", "503 No", ("Retry-After", "7")), 503, "complete", ""),
    (generator, 200, "complete", ""),
    (writer, 200, "complete", ""),
    (raises_before, 500, "complete", "KeyError"),
    (raises_after_start, 500, "complete", "KeyError"),
    (raises_after_chunk, 200, "truncated", "KeyError"),
    (exits, None, "none", "SystemExit"),
    (RaisesInClose(("Content-Length", "4")), 200, "complete", "OSError"),
    (RaisesInClose(), 200, "truncated", "OSError"),
]


@pytest.mark.parametrize(("app", "status", "body", "exception"), CASES)
def test_semantics(peer: Peer, app: Any, status: Any, body: str, exception: str) -> None:
    ended = observe(peer, app, REQUEST_METHOD="GET", PATH_INFO="/items/12")
    assert (ended.status, ended.body, ended.exception) == (status, body, exception)
    assert ended.route == "/items/{id}"
    assert ended.method == "GET"
    assert ended.retry_after is (status == 503)
    assert ended.rss is not None and ended.rss > 1_000_000
    assert ended.cpu is not None and ended.cpu >= 0
    assert ended.duration > 0


def test_a_list_is_returned_as_it_is(peer: Peer) -> None:
    """Some servers send a list, and nothing else, in one piece with its length."""
    body = [b"a", b"b"]

    def app(environ: dict[str, Any], start_response: START) -> list[bytes]:
        start_response("200 OK", HEADERS)
        return body

    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    assert SeismWSGI(app, sidecar=peer.address)(environ, lambda *_: print) is body
    (found,) = observer._observers.values()
    assert found.in_flight == 0
    assert peer.wait(RequestEnded)[0].body == "complete"


def test_head_has_no_body_to_count(peer: Peer) -> None:
    assert observe(peer, sized(b"", length=10), REQUEST_METHOD="HEAD").body == "complete"


def test_a_client_that_leaves_truncates(peer: Peer) -> None:
    ended = observe(peer, generator, read=1)
    assert ended.body == "truncated"


@pytest.mark.parametrize("app", [sized(b"abc"), generator, writer])
def test_passes_the_validator(peer: Peer, app: Any) -> None:
    wrapped = SeismWSGI(validator(app), sidecar=peer.address)
    environ: dict[str, Any] = {"REQUEST_METHOD": "GET", "QUERY_STRING": ""}
    chunks, error = call(validator(wrapped), **environ)
    assert error is None and b"".join(chunks) in (b"abc", b"onetwo")


@pytest.mark.parametrize("app", [sized(b"abc"), writer])
def test_the_observation_precedes_the_last_byte(peer: Peer, app: Any) -> None:
    """In the sidecar's hands while the server still holds the last chunk."""
    wrapped = SeismWSGI(app, sidecar=peer.address)
    call(wrapped)
    peer.wait(RequestEnded)
    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    written: list[bytes] = []

    def write(data: bytes) -> None:
        written.append(data)
        if b"".join(written) == b"onetwo":
            peer.wait(RequestEnded, 2)

    for _ in wrapped(environ, lambda *_: write):
        assert len(peer.wait(RequestEnded, 2)) == 2
    assert len(peer.wait(RequestBegun, 2)) == 2


def test_close_is_reported_again_under_the_same_id(peer: Peer) -> None:
    observe(peer, RaisesInClose(("Content-Length", "4")))
    first, last = peer.records(RequestEnded)
    assert first.request == last.request
    assert (first.exception, last.exception) == ("", "OSError")
    assert first.duration == last.duration


def test_a_file_wrapper_is_returned_as_it_is(peer: Peer) -> None:
    def app(environ: dict[str, Any], start_response: START) -> Any:
        start_response("200 OK", HEADERS)
        return environ["wsgi.file_wrapper"](io.BytesIO(b"file"))

    environ: dict[str, Any] = {"wsgi.file_wrapper": FileWrapper}
    setup_testing_defaults(environ)
    iterable = SeismWSGI(app, sidecar=peer.address)(environ, lambda *_: None)
    assert type(iterable) is FileWrapper
    assert peer.wait(RequestEnded)[0].body == "complete"


def test_errors_are_captured_without_values(peer: Peer) -> None:
    log = logging.getLogger("app.errors")
    log.addHandler(logging.NullHandler())
    log.propagate = False

    def app(environ: dict[str, Any], start_response: START) -> list[bytes]:
        log.error("user %s failed", "secret")
        log.error("formatted secret")
        log.warning("no error")
        try:
            raise http.client.IncompleteRead(b"")
        except http.client.HTTPException:
            log.exception("with %d values", 1)
        return sized(b"x")(environ, start_response)  # type: ignore[no-any-return]

    errors = observe(peer, app).errors
    assert [e.message for e in errors] == ["user %s failed", "", "with %d values"]
    assert [e.exception for e in errors] == ["", "", "http.client.IncompleteRead"]
    assert errors[0].logger == "app.errors" and errors[0].where.startswith("test_wsgi:")
    assert "secret" not in repr(peer.received)


def test_the_route_is_what_anyone_set(peer: Peer) -> None:
    def app(environ: dict[str, Any], start_response: START) -> Any:
        environ[ENVIRON_ROUTE] = "/set/{by}/app"
        assert environ[ENVIRON_REQUEST].endswith("-1")
        return generator(environ, start_response)

    assert observe(peer, app).route == "/set/{by}/app"


def test_unconfigured_is_inert() -> None:
    seen: list[Any] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        seen.append((environ, start_response))
        return result

    result = [b"x"]
    environ: dict[str, Any] = {"a": 1}
    threads = threading.active_count()
    assert SeismWSGI(app)(environ, len) is result
    assert seen == [({"a": 1}, len)] and seen[0][0] is environ
    assert observer.PATCHES.names == () and threading.active_count() == threads


def test_attributes_pass_through() -> None:
    app = RaisesInClose(("a", "b"))
    assert SeismWSGI(app).headers == (("a", "b"),)
    with pytest.raises(AttributeError):
        _ = SeismWSGI(app).nothing
    assert SeismWSGI.__new__(SeismWSGI).__dict__ == {}
    with pytest.raises(AttributeError):
        _ = SeismWSGI.__new__(SeismWSGI).app


@pytest.mark.parametrize("address", ["nowhere", "host:port", "host:99999", "http://h:1/path"])
def test_a_bad_address_is_an_error_of_one_line(
    address: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ValueError, match="host:port is expected"):
        SeismWSGI(generator, sidecar=address)
    monkeypatch.setenv("SEISM_SIDECAR", address)
    chunks, error = call(SeismWSGI(generator))
    assert (chunks, error) == ([b"one", b"two"], None)
    assert [r.levelname for r in caplog.records] == ["ERROR"]


def test_signal_once_per_request(peer: Peer) -> None:
    got: list[RequestEnded] = []

    def receiver(sender: Any, record: RequestEnded) -> None:
        got.append(record)
        raise RuntimeError("a receiver's fault")

    signals.request_ended.connect(receiver)
    try:
        _, error = call(SeismWSGI(RaisesInClose(), sidecar=peer.address))
    finally:
        signals.request_ended.disconnect(receiver)
    assert isinstance(error, OSError)
    assert [(r.body, r.exception) for r in got] == [("truncated", "OSError")]


def test_waitress(peer: Peer) -> None:
    """A real server: threads, keep-alive, one record of each kind per request."""
    apps = {"/list": sized(b"abc"), "/gen": generator, "/bad": raises_before}

    def app(environ: dict[str, Any], start_response: START) -> Any:
        return apps[environ["PATH_INFO"]](environ, start_response)

    wrapped = SeismWSGI(app, sidecar=peer.address)
    server = waitress.server.create_server(wrapped, host="127.0.0.1", port=0, threads=4)

    def run() -> None:
        with contextlib.suppress(OSError):  # its select() sees the sockets go
            server.run()

    thread = threading.Thread(target=run)
    thread.start()
    logging.getLogger("waitress").addHandler(logging.NullHandler())
    try:
        client = http.client.HTTPConnection("127.0.0.1", server.effective_port, timeout=10)
        statuses = []
        for path in ["/list", "/gen", "/bad"] * 5:
            client.request("GET", path)
            answer = client.getresponse()
            answer.read()
            statuses.append(answer.status)
        client.close()
        eventually(lambda: not server.active_channels, "the server noticed")
    finally:
        server.close()
        thread.join(10)
    assert statuses == [200, 200, 500] * 5
    ended = peer.wait(RequestEnded, 15)
    assert [r.status for r in ended] == statuses
    assert len(peer.records(RequestBegun)) == 15
    assert len(peer.records(Hello)) == 1
    numbers = [number for _, number in peer.received]
    assert numbers == list(range(1, len(numbers) + 1))


def test_light_import() -> None:
    code = (
        "import sys; before = set(sys.modules);"
        "import seism_middleware.wsgi, seism_middleware.asgi, seism_middleware.paste;"
        "heavy = {'asyncio', 'http', 'pathlib', 'gevent', 'blinker', 'statsd', 'ssl', 'seism'};"
        "found = heavy & (set(sys.modules) - before); sys.exit(repr(found) if found else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
