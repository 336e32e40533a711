"""What the observer costs: ``make bench-observer`` (ARGS="--calls 10000000").

Everything is measured beside its control, in turns, in one run: the app with and without the
observer, a socket's send with and without the patches. A real ``seism serve`` reads. The
added cost is the median of the differences of neighbouring rounds; the spread (the middle
half of the rounds) is printed with it, because no figure of a shared machine is a constant.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import http.client
import json
import os
import platform
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from seism_middleware import observer
from seism_middleware.asgi import SeismASGI
from seism_middleware.contract import Proxied
from seism_middleware.patches import Patches
from seism_middleware.traffic import Request, current
from seism_middleware.wsgi import SeismWSGI
from tests.processes import app as served
from tests.processes import sidecar

BODY = b"ok"
HEADERS = [("Content-Type", "text/plain"), ("Content-Length", str(len(BODY)))]
ENVIRON = {"REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": "/items/42"}
SCOPE = {"type": "http", "method": "GET", "path": "/items/42", "headers": []}
MICRO = 1e6
PARTS = ("import", "send", "request", "throughput", "memory")


def wsgi_app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """The cheapest app there is, so that what is added stands out."""
    start_response("200 OK", HEADERS)
    return [BODY]


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    """The same; it answers ``lifespan`` by raising, as the specification allows."""
    if scope["type"] != "http":
        raise NotImplementedError
    headers = [(name.lower().encode(), value.encode()) for name, value in HEADERS]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})


observed_wsgi = SeismWSGI(wsgi_app)
observed_asgi = SeismASGI(asgi_app)


def _start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
    return None


def ask_wsgi(app: Any) -> None:
    """One request, as a server makes it."""
    body = app(dict(ENVIRON), _start_response)
    try:
        for _ in body:
            pass
    finally:
        if hasattr(body, "close"):
            body.close()


async def _receive() -> dict[str, Any]:
    return {"type": "http.request"}


async def _send(message: Any) -> None:
    pass


async def ask_asgi(app: Any) -> None:
    """One request, as a server makes it."""
    await app(dict(SCOPE), _receive, _send)


def summary(values: list[float]) -> dict[str, float]:
    """Median, the middle half, and the least of ``values``."""
    quarter = statistics.quantiles(values, n=4)
    return {
        "median": statistics.median(values),
        "from": quarter[0],
        "to": quarter[2],
        "least": min(values),
    }


def in_turns(
    rounds: int, bare: Callable[[], float], other: Callable[[], float], rest: float = 0.0
) -> dict[str, dict[str, float]]:
    """Measure both in each round, in changing order; what ``other`` adds is per round."""
    controls, changed = [], []
    for round_ in range(rounds):
        order = ((bare, controls), (other, changed))
        for measure, into in order if round_ % 2 else reversed(order):
            into.append(measure())
            if rest:
                time.sleep(rest)
    added = [b - a for a, b in zip(controls, changed, strict=True)]
    return {"bare": summary(controls), "with": summary(changed), "added": summary(added)}


def per_request(rounds: int, requests: int) -> dict[str, Any]:
    """Microseconds of the serving thread per request, and of the whole process."""
    loop = asyncio.new_event_loop()

    def wsgi(app: Any) -> None:
        for _ in range(requests):
            ask_wsgi(app)

    def asgi(app: Any) -> None:
        async def all_of_them() -> None:
            for _ in range(requests):
                await ask_asgi(app)

        loop.run_until_complete(all_of_them())

    def measured(clock: Callable[[], float], run: Any, app: Any) -> Callable[[], float]:
        def measure() -> float:
            start = clock()
            run(app)
            return (clock() - start) / requests * MICRO

        return measure

    found: dict[str, Any] = {}
    try:
        for kind, run, bare, wrapped in (
            ("WSGI", wsgi, wsgi_app, observed_wsgi),
            ("ASGI", asgi, asgi_app, observed_asgi),
        ):
            run(wrapped)
            until_connected(wrapped)
            for what, clock in (("thread", time.thread_time), ("process", time.process_time)):
                found[f"{kind} request, µs CPU of the {what}"] = in_turns(
                    rounds, measured(clock, run, bare), measured(clock, run, wrapped), rest=0.05
                )
        found["WSGI request every 2 ms, µs CPU of the process"] = paced(rounds)
    finally:
        loop.close()
    return found


def paced(rounds: int, requests: int = 100) -> dict[str, Any]:
    """The same where the sidecar and the stream's thread fall asleep between requests."""

    def measured(app: Any) -> Callable[[], float]:
        def measure() -> float:
            start = time.process_time()
            for _ in range(requests):
                ask_wsgi(app)
                time.sleep(0.002)
            return (time.process_time() - start) / requests * MICRO

        return measure

    return in_turns(rounds, measured(wsgi_app), measured(observed_wsgi))


def until_connected(app: Any) -> None:
    end = time.monotonic() + 10
    while not app._lazy.get("").stream.connected:  # it has been decided by now
        if time.monotonic() > end:
            raise SystemExit("the sidecar cannot be reached")
        time.sleep(0.01)


def per_send(rounds: int, sends: int) -> dict[str, Any]:
    """Microseconds of the thread per ``send``, with the patches and without them.

    Each socket's peer is read between the rounds by the same thread: no other thread wants
    the interpreter while it is measured.
    """
    ledger = observer.Ledger()
    patches = Patches(ledger)
    found: dict[str, Any] = {}
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        host, port = server.getsockname()

        def tcp() -> tuple[socket.socket, socket.socket]:
            near = stack.enter_context(socket.create_connection((host, port)))
            near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            far = stack.enter_context(server.accept()[0])
            return near, far

        other = tcp()
        ledger.watch(1, (Proxied("db", "127.0.0.1", port),))
        patches.install()
        proxied = tcp()
        ledger.watch(1, ())
        patches.uninstall()
        pair = socket.socketpair()
        udp = (socket.socket(type=socket.SOCK_DGRAM), socket.socket(type=socket.SOCK_DGRAM))
        for sock in (*pair, *udp):
            stack.enter_context(sock)
        udp[1].bind(("127.0.0.1", 0))
        udp[0].connect(udp[1].getsockname())
        request = Request("w-1", "GET", 0.0)
        token = current.set(request)
        stack.callback(current.reset, token)
        for name, (near, far) in (
            ("proxied TCP", proxied), ("other TCP", other), ("socketpair", pair), ("UDP", udp),
        ):  # fmt: skip
            found[f"send on {name}, µs"] = in_turns(
                rounds,
                lambda near=near, far=far: _sends(near, far, sends),  # type: ignore[misc]
                lambda near=near, far=far: _patched(patches, near, far, sends),  # type: ignore[misc]
            )
    return found


def _patched(patches: Patches, near: socket.socket, far: socket.socket, sends: int) -> float:
    patches.install()
    try:
        return _sends(near, far, sends)
    finally:
        patches.uninstall()


def _sends(near: socket.socket, far: socket.socket, sends: int, batch: int = 50) -> float:
    data, spent = b"x" * 64, 0.0
    datagrams = near.type == socket.SOCK_DGRAM
    near.send(data)
    far.recv(64)
    for _ in range(sends // batch):
        start = time.thread_time()
        for _ in range(batch):
            near.send(data)
        spent += time.thread_time() - start
        left = batch * len(data)
        while left:
            left -= len(far.recv(64 if datagrams else left))
    return spent / (sends // batch * batch) * MICRO


def throughput(kind: str, rounds: int, seconds: float, control: Any) -> dict[str, Any]:
    """Requests a second over 16 connections, through a real server beside the bare app."""
    with ExitStack() as stack:
        ports = {}
        for name in ("bare", "with"):
            which = f"{kind} {name}"
            ports[name], _ = stack.enter_context(
                served(kind, "bench.served", control, BENCH_APP=which)
            )
        found = in_turns(
            rounds,
            lambda: load(ports["bare"], seconds),
            lambda: load(ports["with"], seconds),
        )
    del found["added"]
    return found


def load(port: int, seconds: float, connections: int = 16) -> float:
    """Requests a second."""
    counts = [0] * connections
    end = time.monotonic() + seconds

    def ask(index: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        while time.monotonic() < end:
            connection.request("GET", "/items/42")
            connection.getresponse().read()
            counts[index] += 1
        connection.close()

    start = time.monotonic()
    threads = [threading.Thread(target=ask, args=(index,)) for index in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.monotonic() - start)


def resident() -> int:
    """Bytes of this process that are in memory."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def memory(app: Any, calls: int, looks: int = 20) -> list[int]:
    """RSS in bytes, looked at ``looks`` times while ``app`` is called ``calls`` times."""
    seen = []
    for _ in range(looks):
        for _ in range(calls // looks):
            ask_wsgi(app)
        gc.collect()
        seen.append(resident())
    return seen


IMPORTED = ("seism_middleware", "seism_middleware.wsgi", "seism_middleware.asgi")


def importing(rounds: int) -> dict[str, Any]:
    """CPU of an interpreter that imports the middleware, beside one that does nothing.

    Both find their bytecode in a folder that a first round fills, as an installed package has
    its own: where none may be written, it would be the compiler that is measured.
    """
    folder = tempfile.TemporaryDirectory()
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": folder.name}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def spent() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    def measured(program: str) -> Callable[[], float]:
        def measure() -> float:
            start = spent()
            subprocess.run([sys.executable, "-c", program], env=environment, check=True)
            return (spent() - start) * 1e3

        return measure

    found = {}
    with folder:
        for name in IMPORTED:
            bare, whole = measured("pass"), measured(f"import {name}")
            bare(), whole()
            found[f"import {name}, ms CPU of the interpreter"] = in_turns(rounds, bare, whole)
    return found


def machine() -> str:
    """What the figures are from."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        pass
    return (
        f"{os.cpu_count()} x {model}, Linux {platform.release()}, "
        f"Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}"
    )


def table(found: dict[str, dict[str, dict[str, float]]]) -> Iterator[str]:
    """The results, as lines of a Markdown table."""
    yield "| what | bare | with the observer | added | ratio |"
    yield "|---|---|---|---|---|"
    for name, result in found.items():
        cells = [_cell(result[key]) if key in result else "" for key in ("bare", "with", "added")]
        ratio = result["with"]["median"] / result["bare"]["median"]
        yield f"| {name} | {' | '.join(cells)} | {ratio:.2f} |"


def _cell(values: dict[str, float]) -> str:
    digits = 0 if values["median"] >= 100 else 2
    return "{median:.{d}f} ({from:.{d}f} to {to:.{d}f})".format(**values, d=digits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--requests", type=int, default=2000, help="per round")
    parser.add_argument("--seconds", type=float, default=2.0, help="of load per round")
    parser.add_argument("--calls", type=int, default=200_000, help="of the memory run")
    parser.add_argument("--only", choices=PARTS, action="append", help="may be given again")
    parser.add_argument("--json", type=Path, default=Path("bench-observer.json"))
    options = parser.parse_args()
    wanted = options.only or PARTS
    found = importing(options.rounds) if "import" in wanted else {}
    if "send" in wanted:
        found |= per_send(options.rounds, 5000)
    rss: list[int] = []
    with tempfile.TemporaryDirectory() as folder, sidecar(Path(folder) / "journal") as control:
        os.environ["SEISM_SIDECAR"] = f"{control.host}:{control.port}"
        if "request" in wanted:
            found |= per_request(options.rounds, options.requests)
        for kind in ("wsgi", "asgi") if "throughput" in wanted else ():
            name = f"{kind.upper()} requests/s, 16 connections"
            found[name] = throughput(kind, 5, options.seconds, control)
        start = time.monotonic()
        if "memory" in wanted:
            rss = memory(observed_wsgi, options.calls)
        took = time.monotonic() - start
        used = observed_wsgi._lazy.get("wsgi")
        dropped = used.stream.dropped if used else 0
        for known in list(observer._observers.values()):
            known.close()
    when, where = datetime.now(UTC).isoformat(timespec="seconds"), machine()
    print(f"{when}, {where}\n")
    if found:
        print("Medians, and the middle half of the rounds.\n", *table(found), "", sep="\n")
    if rss:
        flat = (rss[-1] - rss[len(rss) // 2]) / 1e6
        print(
            f"{options.calls:,} observed calls in {took:.0f} s: RSS {rss[0] / 1e6:.1f} MB after "
            f"the first twentieth, {rss[-1] / 1e6:.1f} MB at the end, {flat:+.2f} MB in the second "
            f"half; {dropped:,} records dropped, as the loop is faster than any sidecar"
        )
    values = {"when": when, "machine": where, "results": found, "rss": rss, "calls": options.calls}
    options.json.write_text(json.dumps(values | {"dropped": dropped}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
