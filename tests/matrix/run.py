"""Run the matrix and write it to ``docs/matrix.md``: ``python -m tests.matrix.run``.

``--only WORD`` picks cells by a part of their name, ``--requests N`` makes them shorter;
then nothing is written but to the terminal.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

from tests.matrix.backends import Servers
from tests.matrix.cell import PER_REQUEST, Outcome, run
from tests.matrix.clients import ASYNC, BACKEND, SYNC

PAGE = Path(__file__).parents[2] / "docs" / "matrix.md"
REQUESTS = 2000
POSSIBLE = ("ldap3-reusable", "pycurl", "bonsai")
"""Clients whose perturbations may be attributed as possible only; ``HEAD`` says why."""
FEWEST = 5
"""Perturbations without which a cell has shown nothing."""
ENOUGH = 0.999
ENOUGH_CONNECTS = 0.99

WORKERS = (
    ("psycopg2", "gunicorn sync x4"), ("sqlalchemy-psycopg2", "gunicorn sync x4"),
    ("django", "gunicorn sync x4"), ("django", "gunicorn gthread x4"),
    ("sqlalchemy-psycopg2", "gunicorn gthread x4"), ("mysqlclient", "gunicorn gthread x4"),
    ("redis", "gunicorn gthread x4"), ("redis", "gunicorn gevent x4"),
    ("mysqlclient", "gunicorn gevent x4"),
    ("sqlalchemy-psycopg", "gunicorn gthread x4 --preload"),
    ("redis", "gunicorn gthread x4 --preload"), ("redis-async", "uvicorn x4"),
    ("asyncpg", "uvicorn x4"), ("psycopg-async", "granian ASGI x4"),
    ("redis", "granian WSGI x4"), ("redis-async", "granian ASGI x4"),
)  # fmt: skip


def cells() -> list[tuple[str, str]]:
    """Every client under every model that it can run in, then several workers."""
    found = [(client, model) for client in SYNC for model in ("threads", "gevent", "asyncio")]
    found = [cell for cell in found if cell != ("ldap3-reusable", "asyncio")]
    found += [(client, "uvloop") for client in SYNC if client != "ldap3-reusable"]
    found += [(client, model) for client in ASYNC for model in ("asyncio", "uvloop")]
    alone = [cell for cell in found if cell[0] != "ldap3-reusable"]
    found += [(client, f"{model}{PER_REQUEST}") for client, model in alone]
    return [*found, *WORKERS]


def fails(outcome: Outcome, enough: float = 1.0) -> str:
    """What is wrong with a cell, nothing if it is as it must be.

    ``enough``: the share of the perturbations that must be exact, if less than usual will do.
    """
    count = len(outcome.perturbed)
    if outcome.wrong:
        return f"{outcome.wrong} wrong"
    if count < FEWEST:
        return f"only {count} perturbations"
    if possible_only(outcome):
        return ""
    if outcome.exact < min(enough, ENOUGH_CONNECTS if outcome.fresh else ENOUGH) * count:
        return f"{count - outcome.exact} of {count} not attributed exactly"
    if outcome.shuffled < 0.9 * count:
        return "a shuffled truth is not noticed"
    return ""


def possible_only(outcome: Outcome) -> bool:
    """Whether nothing of the cell needs to be exact."""
    return outcome.client in POSSIBLE and not outcome.fresh


def row(outcome: Outcome) -> str:
    """The cell's line in the table."""
    evidence = ", ".join(f"{name} {count}" for name, count in outcome.evidence.most_common())
    statuses = ", ".join(f"{status}: {n}" for status, n in sorted(outcome.statuses.items()))
    client = f"`{outcome.client}`" + " (possible only)" * possible_only(outcome)
    cells = (
        client, f"`{BACKEND[outcome.client]}`", outcome.model,
        len(outcome.perturbed), outcome.exact, outcome.wrong, outcome.shuffled, evidence, statuses,
    )  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"


HEAD = """\
# The matrix: each client under each model of concurrency

Made by `make matrix` on {date}, Python {python}, {machine}. Each row is a run of an app whose
requests, {requests} of them and 32 at once, each send their own id through one client to a real
server, over connections that they reuse, while toxics delay and reset them. Which request was hit
is read from the payload, behind the proxy. *Exact*: perturbations that were attributed exactly to
all requests that they hit. *Wrong*: those attributed exactly to any other; it must be 0.
*Shuffled*: how many would be wrong if the payload's ids were mixed up, so that a 0 means
something. A client that blocks runs in `asyncio.to_thread` under asyncio.

*A connection per request*: each request connects, and closes its connection; the backend is away
again and again. There, each request whose connect failed (502) counts as a perturbation, and it
must be attributed exactly to an outage, in 99 of 100 cases at least. *Wrong* are then those that
were attributed to an outage by a failed connect, though the app has served them.

*Possible only*: `ldap3-reusable` asks from threads of its own, of which nobody can tell whom they
work for. What pycurl and bonsai send is C's; only their failed connects are followed. What hits
these clients is attributed to all requests that it may have hit, as possible, and never to a wrong
one as exact. Where pycurl blocks alone, as under gevent, the kernel shows the request, exactly,
once the proxy holds its bytes.

| client | backend | model | perturbations | exact | wrong | shuffled | evidence | answers |
|---|---|---|---|---|---|---|---|---|
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="cells whose name has this in it")
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--keep", type=Path, help="a new folder for journals and logs")
    asked = parser.parse_args()
    wanted = [cell for cell in cells() if asked.only in f"{cell[0]} {cell[1]}"]
    rows, failed = [], 0
    with Servers() as servers, tempfile.TemporaryDirectory(prefix="seism-") as temporary:
        for client, model in wanted:
            began = time.monotonic()
            folder = (asked.keep or Path(temporary)) / f"{client} {model}".replace(" ", "_")
            outcome = run(servers, client, model, asked.requests, folder)
            trouble = fails(outcome)
            failed += bool(trouble)
            rows.append(row(outcome))
            print(rows[-1], trouble, f"{time.monotonic() - began:.1f} s", flush=True)
    if not asked.only and asked.requests == REQUESTS:
        head = HEAD.format(
            date=time.strftime("%Y-%m-%d"), python=platform.python_version(),
            machine=f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
            requests=f"{REQUESTS:,}",
        )  # fmt: skip
        PAGE.write_text(head + "".join(f"{line}\n" for line in rows))
    print(f"{len(rows)} cells, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
