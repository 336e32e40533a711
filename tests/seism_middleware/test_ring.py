from __future__ import annotations

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
from seism_middleware.contract import RequestBegun, RequestEnded
from seism_middleware.ring import Ring, open_ring
from seism_middleware.wire import RING_HEAD
from tests.processes import sidecar, until


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
        ring = open_ring(held.path, held.key)
        assert isinstance(ring, Ring) and ring.size == 100
    finally:
        held.close()


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
