"""Running out of descriptors, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import logging, os, resource, sys
import gevent
from gevent import socket
from seism.clock import MonotonicClock
from seism.model import ProxySpec
from seism.proxy.collection import Collection
from seism.rng import Seed

logging.basicConfig(stream=sys.stdout, format="%(message)s")
server = socket.socket()
server.bind(("127.0.0.1", 0))
server.listen(100)
collection = Collection(Seed(1), MonotonicClock(), print, lambda: None)
proxy = collection.create(ProxySpec("a", "127.0.0.1:%d" % server.getsockname()[1]))
warm = socket.create_connection(proxy.address)
gevent.sleep(0.05)
used = len(os.listdir("/proc/self/fd")) - 1  # listing takes one itself
before, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (used + 5, hard))
clients = [socket.socket() for _ in range(5)]
for client in clients:
    client.connect(proxy.address)
cpu = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
gevent.sleep(0.5)
spent = sum(resource.getrusage(resource.RUSAGE_SELF)[:2]) - cpu
print("idle" if spent < 0.25 else f"spun for {spent} s")
resource.setrlimit(resource.RLIMIT_NOFILE, (before, hard))
gevent.sleep(0.3)
print(proxy.connections, "connections")
"""


def test_without_descriptors_the_listener_pauses_says_so_once_and_goes_on() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines == ["proxy a: cannot accept connections: Too many open files", "idle",
                     "6 connections"]  # fmt: skip
