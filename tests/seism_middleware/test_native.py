"""A C client that blocks gevent's hub does not block the stream to the sidecar."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time

from seism_middleware.contract import Looked, PerturbationBegan, RequestBegun
from tests.processes import ROOT
from tests.seism_middleware.peer import Peer

SCRIPT = """
    from gevent import monkey
    monkey.patch_all()
    import ctypes, sys
    from seism_middleware.wsgi import SeismWSGI

    libc = ctypes.CDLL(None)

    def app(environ, start_response):
        start_response("200 OK", [])
        if environ["PATH_INFO"] == "/blocks":
            libc.getchar()  # gives up the interpreter's lock, and never the hub
        return [b""]

    wrapped = SeismWSGI(app, sidecar=sys.argv[1])
    for path in ("/", "/blocks"):
        wrapped({"REQUEST_METHOD": "GET", "PATH_INFO": path}, lambda *a: None)
"""


def test_the_hub_is_blocked_and_the_stream_goes_on(peer: Peer) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), peer.address],
        cwd=ROOT, stdin=subprocess.PIPE,
    )  # fmt: skip
    try:
        peer.wait(RequestBegun, 2)
        peer.tell(PerturbationBegan("p", "db", "t", "latency", time.monotonic(), hold=1.0))
        assert peer.wait(Looked) == [Looked("p")]
        assert child.poll() is None
    finally:
        child.communicate(b"\n", timeout=30)
    assert child.returncode == 0
