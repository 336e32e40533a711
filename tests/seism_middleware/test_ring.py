from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seism.journal import read
from seism.sidecar.ring import Ring as Held
from seism_middleware.contract import (
    Census,
    CensusAsked,
    Clock,
    Hello,
    RequestBegun,
    RequestEnded,
    Welcome,
)
from seism_middleware.ring import MAX_SIZE, Ring, open_ring
from seism_middleware.wire import RING_COUNT, RING_HEAD
from tests.processes import sidecar, until
from tests.seism_middleware.peer import Peer


@given(st.lists(st.tuples(st.binary(max_size=40), st.integers(0, 60)), max_size=60))
def test_lines_come_out_as_they_went_in(steps: list[tuple[bytes, int]]) -> None:
    """Whatever is put and sent when, in whatever parts; the sidecar sees the last of it."""
    held = Held(100)
    try:
        ring = open_ring(held.path, held.key)
        assert ring is not None
        put, shipped = b"", b""
        for text, send in steps:
            line = text.replace(b"\n", b" ").replace(b"\r", b" ") + b"\n"
            if ring.put(line):
                put += line
            part = ring.pending()[:send]
            ring.sent(part)
            shipped += part
        assert put.startswith(shipped)
        unsent = put[shipped.rfind(b"\n") + 1 :].split(b"\n")[:-1]
        assert ring.rest() == [line + b"\n" for line in unsent]
        lines = put.split(b"\n")[:-1]
        seen = held.lines()
        assert seen == lines[len(lines) - len(seen) :]
        assert len(seen) >= len(unsent)
    finally:
        held.close()


def test_what_is_not_the_ring_is_left_alone(tmp_path: Path) -> None:
    held = Held(100)
    try:
        assert open_ring(held.path, "0" * 16) is None
        assert open_ring(held.path, "") is None
        assert open_ring(str(tmp_path / "none"), held.key) is None
        assert open_ring("/dev/null", held.key) is None
        os.mkfifo(tmp_path / "pipe")
        assert open_ring(str(tmp_path / "pipe"), held.key) is None
        (tmp_path / "small").write_bytes(b"x" * RING_HEAD)
        assert open_ring(str(tmp_path / "small"), held.key) is None
        descriptor = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
        os.pwrite(descriptor, bytes(RING_COUNT.size) + held.key.encode() + bytes(200), 0)
        assert open_ring(f"/proc/self/fd/{descriptor}", held.key) is None
        os.close(descriptor)
        ring = open_ring(held.path, held.key)
        assert isinstance(ring, Ring) and ring.size == 100
    finally:
        held.close()


def memory(size: int, seals: int) -> tuple[int, Welcome]:
    """A memory file that looks like a ring, and the welcome that names it."""
    descriptor = os.memfd_create("seism-ring", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, size)
    os.pwrite(descriptor, b"0123456789abcdef", RING_COUNT.size)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    path = f"/proc/{os.getpid()}/fd/{descriptor}"
    return descriptor, Welcome(Clock("", 0.0), ring=path, ring_key="0123456789abcdef")


@pytest.mark.parametrize(
    ("size", "seals"),
    [
        (4096 * 8, 0),
        (4096 * 8, fcntl.F_SEAL_GROW),
        (MAX_SIZE + 1, fcntl.F_SEAL_SHRINK),
        (4096 * 8, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_WRITE),
    ],
)
def test_memory_that_can_be_taken_away_is_not_mapped(size: int, seals: int) -> None:
    descriptor, welcome = memory(size, seals)
    try:
        assert open_ring(welcome.ring, welcome.ring_key) is None
    finally:
        os.close(descriptor)


SERVED = """
import sys
from seism_middleware import observer
from seism_middleware.wsgi import SeismWSGI

def app(environ, start_response):
    start_response('200 OK', [('Content-Length', '1')])
    return [b'x']

app = SeismWSGI(app, sidecar=sys.argv[1])
for line in sys.stdin:
    body = app({'REQUEST_METHOD': 'GET', 'PATH_INFO': '/'}, lambda *a: print)
    list(body); hasattr(body, 'close') and body.close()
    ring = observer.configured(sys.argv[1], None, 'wsgi').stream._ring
    print('mapped' if ring else 'stream', flush=True)
"""


@pytest.mark.parametrize("sealed", [False, True])
def test_a_sidecar_that_shrinks_the_memory_does_not_end_the_app(sealed: bool) -> None:
    """Unsealed, it would take the pages away under the app's hands: SIGBUS, exit code -7."""
    descriptor, welcome = memory(4096 * 8, fcntl.F_SEAL_SHRINK if sealed else 0)
    with (
        Peer() as peer,
        subprocess.Popen(
            [sys.executable, "-c", SERVED, peer.address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as app,
    ):
        assert app.stdin is not None and app.stdout is not None

        def served(count: int) -> set[str]:
            assert app.stdin is not None and app.stdout is not None
            found = set()
            for _ in range(count):
                app.stdin.write("\n")
                app.stdin.flush()
                found.add(app.stdout.readline().strip())
            return found

        served(1)
        peer.wait(Hello)
        peer.tell(welcome)
        peer.tell(CensusAsked("read"))  # what comes before it has been read by then
        peer.wait(Census)
        try:
            os.ftruncate(descriptor, 0)
        except PermissionError:
            assert sealed
        assert served(20) == {"mapped" if sealed else "stream"}
        peer.wait(RequestEnded, 21)
        app.stdin.close()
        assert app.wait(30) == 0
    os.close(descriptor)


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
found = observer.configured(sys.argv[1], None, 'wsgi')
while found.stream._ring is None:
    time.sleep(0.001)
if sys.argv[2] == 'unsent':  # as if the thread never came to run again
    found.stream._ship = lambda: False
for _ in range(100):
    ask('/')
ask('/die')
"""


@pytest.mark.parametrize("thread", ["sending", "unsent"])
def test_what_a_killed_worker_had_not_sent_is_in_the_journal(thread: str, tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    with sidecar(journal) as control:
        address = f"{control.host}:{control.port}"
        done = subprocess.run([sys.executable, "-c", KILLED, address, thread], timeout=60)
        assert done.returncode == -signal.SIGKILL
        until(lambda: not control.call("GET", "/seism/workers")["workers"])
    entries = [entry for entry in read(journal) if entry.n is not None]
    assert [entry.n for entry in entries] == list(range(1, len(entries) + 1))
    begun = [e.record.request for e in entries if isinstance(e.record, RequestBegun)]
    ended = [e.record.request for e in entries if isinstance(e.record, RequestEnded)]
    assert len(begun) == 102 and begun[:-1] == ended
