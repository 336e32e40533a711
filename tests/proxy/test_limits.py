"""A real ``seism serve`` at its limits: open files, and memory."""

from __future__ import annotations

import socket
import sys
from contextlib import ExitStack
from pathlib import Path

import psutil

from bench.memory import KIB, MIB, bulk, idle, proxy, serve
from tests.processes import until

SOFT, HARD = 120, 260
CLIENTS = 200
"""More than fit: each takes two descriptors."""
LIMITED = (
    f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({SOFT}, {HARD}))\n"
    "from seism.cli import main; main()"
)


def test_it_takes_as_many_connections_as_it_may_then_waits_and_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with ExitStack() as stack:
        control, pid = stack.enter_context(serve(log, (sys.executable, "-c", LIMITED)))
        child = psutil.Process(pid)
        assert child.rlimit(psutil.RLIMIT_NOFILE) == (HARD, HARD)
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=CLIENTS))
        at = proxy(control, "full", listener)
        clients = [
            stack.enter_context(socket.create_connection(at, timeout=20)) for _ in range(CLIENTS)
        ]
        until(lambda: "cannot accept connections" in log.read_text())
        # Beyond the soft limit that it began with, and not up to the hard one.
        assert SOFT < child.num_fds() < HARD
        assert list(control.proxies()) == ["full"]
        accepted = []
        for client in clients[:40]:
            server = stack.enter_context(listener.accept()[0])
            accepted.append(server)
            client.sendall(b"x")
            assert server.recv(1) == b"x"
        assert log.read_text().count("cannot accept connections") == 1
        for end in (*clients[:-1], *accepted):
            end.close()
        last = clients[-1]
        last.sendall(b"the last one")
        listener.settimeout(20)
        while True:
            server = stack.enter_context(listener.accept()[0])
            server.settimeout(20)
            if server.recv(100) == b"the last one":
                break
            server.close()


def test_an_idle_connection_takes_little_memory() -> None:
    with serve() as (control, pid):
        assert idle(control, pid, 500) < 4 * KIB


def test_a_slow_reader_takes_no_memory_however_much_it_reads() -> None:
    with serve() as (control, pid):
        assert bulk(control, pid, 512 * MIB) < 4 * MIB
