from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from seism_middleware.contract import (
    Clock,
    Dropped,
    Goodbye,
    Hello,
    Proxied,
    Proxies,
    RequestBegun,
    Welcome,
)
from seism_middleware.stream import MAX_PROXIES, Stream
from seism_middleware.wire import encode
from tests.seism_middleware.peer import Peer, eventually

Closing = Callable[[Any], Any]


def hello() -> Hello:
    return Hello("w", os.getpid(), Clock("d", 0.0), "wsgi")


def begun(number: int, padding: int = 0) -> RequestBegun:
    return RequestBegun(f"w-{number}", "G" * (1 + padding), 1.0)


def make(
    port: int, token: str | None = None, receive: Any = lambda record: None, backlog: int = 10_000
) -> Stream:
    return Stream(("127.0.0.1", port), token, hello, receive, lambda now: None, backlog)


def started(peer: Peer, closing: Closing, **more: Any) -> Stream:
    stream: Stream = closing(make(peer.port, **more))
    stream.start()
    peer.wait(Hello)
    return stream


def test_upgrade_and_both_directions(peer: Peer, closing: Closing) -> None:
    got: list[Any] = []
    stream = started(peer, closing, token="s3cret", receive=got.append)
    head = peer.heads[0].split(b"\r\n")
    assert head[0] == b"GET /seism/stream HTTP/1.1"
    assert set(head[1:]) == {
        b"Host: " + peer.address.encode(),
        b"Connection: Upgrade",
        b"Upgrade: seism/1",
        b"Authorization: Bearer s3cret",
    }
    stream.send(begun(1))
    stream.close()
    peer.wait(Goodbye)
    assert [type(r) for r, _ in peer.received] == [Hello, RequestBegun, Goodbye]
    assert [n for _, n in peer.received] == [1, 2, 3]
    assert [type(r) for r in got] == [Welcome]


def test_what_was_said_before_the_connection_comes_after_hello(
    peer: Peer, closing: Closing
) -> None:
    stream = closing(make(peer.port))
    for number in range(50):
        stream.send(begun(number))
    stream.start()
    peer.wait(RequestBegun, 50)
    assert isinstance(peer.received[0][0], Hello)
    assert [r.request for r in peer.records(RequestBegun)] == [f"w-{n}" for n in range(50)]


def test_lines_never_mix_and_nothing_is_lost_when_the_reader_is_slow(
    peer: Peer, closing: Closing
) -> None:
    """Partial writes from many threads into a full socket buffer."""
    stream = started(peer, closing)
    peer.reading.clear()

    def say(first: int) -> None:
        for number in range(first, first + 200):
            stream.send(begun(number, padding=5000))

    threads = [threading.Thread(target=say, args=(first,)) for first in range(0, 1600, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    peer.reading.set()
    records = peer.wait(RequestBegun, 1600)
    assert {r.request for r in records} == {f"w-{n}" for n in range(1600)}
    assert [n for _, n in peer.received] == list(range(1, 1602))
    assert stream.dropped == 0


def test_overflow_is_counted_and_told(peer: Peer, closing: Closing) -> None:
    stream = closing(make(peer.port, backlog=10))
    for number in range(25):
        stream.send(begun(number))
    assert stream.dropped == 15
    stream.start()
    (told,) = peer.wait(Dropped)
    assert told.count == 15
    stream.send(begun(99))
    peer.wait(RequestBegun, 11)
    numbers = [n for r, n in peer.received]
    assert numbers == [*range(1, 12), 27, 28], "a gap as wide as what was dropped"


def test_a_line_that_is_too_long_is_dropped(peer: Peer, closing: Closing) -> None:
    stream = started(peer, closing)
    stream.send(begun(1, padding=70_000))
    assert peer.wait(Dropped)[0].count == 1


def test_a_sidecar_that_dies_and_comes_back(closing: Closing) -> None:
    with Peer() as first:
        stream = started(first, closing)
        stream.send(begun(0))
        first.wait(RequestBegun)
        port = first.port
    eventually(lambda: not stream.connected, "noticed")
    for number in range(1, 20):
        stream.send(begun(number))
    with Peer(port=port) as second:
        second.wait(RequestBegun, 19)
        stream.send(begun(20))
        records = second.wait(RequestBegun, 20)
        assert [r.request for r in records] == [f"w-{n}" for n in range(1, 21)]
        assert [n for _, n in second.received] == list(range(3, 24))
        stream.close()


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_is_said_once_without_the_token(
    status: int, closing: Closing, caplog: pytest.LogCaptureFixture, monkeypatch: Any
) -> None:
    monkeypatch.setattr("seism_middleware.stream.RETRY_REFUSED", 0.01)
    with Peer(status=status) as peer:
        stream = closing(make(peer.port, token="s3cret"))
        stream.start()
        eventually(lambda: len(peer.heads) >= 3, "three attempts")
        stream.close()
    (line,) = [record.getMessage() for record in caplog.records]
    assert str(status) in line and peer.address in line
    assert "s3cret" not in caplog.text
    assert ("SEISM_TOKEN" in line) is (status != 404)


def test_an_absent_sidecar_is_said_once_and_costs_nothing(
    closing: Closing, caplog: pytest.LogCaptureFixture
) -> None:
    with Peer() as gone:
        port = gone.port
    stream = closing(make(port, backlog=5))
    stream.start()
    eventually(lambda: caplog.records, "said")
    for number in range(8):
        stream.send(begun(number))
    time.sleep(0.2)
    assert stream.dropped == 3
    assert len(caplog.records) == 1
    assert "requests go on unobserved" in caplog.text


def test_garbage_from_the_sidecar_is_survived(
    peer: Peer, closing: Closing, caplog: pytest.LogCaptureFixture
) -> None:
    got: list[Any] = []

    def receive(record: Any) -> None:
        got.append(record)
        raise ValueError("a bug")

    stream = started(peer, closing, receive=receive)
    peer.connections[0].sendall(b'{"kind":"new"}\nnot json\n[]\n')
    peer.connections[0].sendall(encode(Welcome(Clock("d", 2.0))))
    eventually(lambda: len(got) == 2, "the good line")
    stream.send(begun(1))
    peer.wait(RequestBegun)
    assert len(peer.connections) == 1


def test_goodbye_at_exit(peer: Peer) -> None:
    code = (
        "import sys\n"
        "from seism_middleware.wsgi import SeismWSGI\n"
        "app = SeismWSGI(lambda e, s: s('200 OK', []) and [b'x'], sidecar=sys.argv[1])\n"
        "body = app({'REQUEST_METHOD': 'GET'}, lambda *a: print)\n"
        "list(body); hasattr(body, 'close') and body.close()\n"
    )
    subprocess.run([sys.executable, "-c", code, peer.address], check=True, timeout=60)
    kinds = [type(record).__name__ for record, _ in peer.wait(Goodbye) and peer.received]
    assert kinds == ["Hello", "RequestBegun", "RequestEnded", "Goodbye"]


FORKING = """
import os, sys, time
from seism_middleware.wsgi import SeismWSGI

app = SeismWSGI(lambda e, s: s('200 OK', []) and [b'x'], sidecar=sys.argv[1])

def ask():
    body = app({'REQUEST_METHOD': 'GET'}, lambda *a: print)
    list(body); hasattr(body, 'close') and body.close()

if sys.argv[2] == 'after':
    ask()
children = []
for _ in range(2):
    child = os.fork()
    if not child:
        for _ in range(3):
            ask()
        sys.exit(0)
    children.append(child)
for child in children:
    assert os.waitpid(child, 0)[1] == 0
ask()
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_forks(peer: Peer, when: str) -> None:
    """A fork before the first request (gunicorn --preload) and after it."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FORKING, peer.address, when],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    peer.wait(Goodbye, 3)
    assert len(peer.connections) == 3
    hellos = peer.records(Hello)
    assert len({h.pid for h in hellos}) == len({h.worker for h in hellos}) == 3
    requests = [r.request for r in peer.records(RequestBegun)]
    assert len(set(requests)) == len(requests) == (8 if when == "after" else 7)


KILLED = """
import os, signal, sys, time
from seism_middleware import observer
from seism_middleware.wsgi import SeismWSGI

def app(environ, start_response):
    if environ['PATH_INFO'] == '/die':
        os.kill(os.getpid(), signal.SIGKILL)
    start_response('200 OK', [('Content-Length', '1')])
    return [b'x']

app = SeismWSGI(app, sidecar=sys.argv[1])

def ask(path):
    body = app({'REQUEST_METHOD': 'GET', 'PATH_INFO': path}, lambda *a: print)
    list(body); hasattr(body, 'close') and body.close()

ask('/')
while not observer.configured(sys.argv[1], None, 'wsgi').stream.connected:
    time.sleep(0.001)
for _ in range(100):
    ask('/')
ask('/die')
"""


def test_nothing_said_is_lost_to_sigkill(peer: Peer) -> None:
    from seism_middleware.contract import RequestEnded

    done = subprocess.run([sys.executable, "-c", KILLED, peer.address], timeout=60)
    assert done.returncode == -9
    peer.wait(RequestBegun, 102)
    ended = {r.request for r in peer.wait(RequestEnded, 101)}
    assert {r.request for r in peer.records(RequestBegun)} - ended == {
        peer.records(RequestBegun)[-1].request
    }


def test_a_list_of_proxies_in_parts_is_one_record(peer: Peer, closing: Closing) -> None:
    got: list[Any] = []
    started(peer, closing, receive=got.append)
    many = tuple(Proxied(f"p{n}", "127.0.0.1", n) for n in range(1, 31))
    for n in range(3):
        peer.tell(Proxies(many[10 * n : 10 * n + 10], more=n < 2))
    eventually(lambda: len(got) > 1, "the proxies")
    assert got[1:] == [Proxies(many)]


def test_a_list_of_proxies_without_an_end_ends_the_stream(peer: Peer, closing: Closing) -> None:
    stream = started(peer, closing)
    endless = Proxies(tuple(Proxied(f"p{n}", "127.0.0.1", n) for n in range(500)), more=True)
    for _ in range(MAX_PROXIES // 500 + 1):
        peer.tell(endless)
    peer.wait(Hello, 2)
    assert not stream._proxies
