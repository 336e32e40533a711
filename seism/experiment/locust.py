"""Locust as the load: a child process, whose file says what is requested.

It runs without its web page, from before the control run until the end; phases are times. Its
own figures, of the whole run, are read when it has ended. With ``processes`` it forks workers,
with ``workers`` it waits for some that connect from other machines
(``locust -f FILE --worker --master-host ...``).
"""

from __future__ import annotations

import csv
import json
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from seism.errors import ConfigurationError, NotReady, SeismError
from seism.experiment.config import Locust
from seism.experiment.driver import Check
from seism.experiment.supervisor import Child, Supervisor
from seism.model import address

CLIENTS = Path(__file__).with_name("locust_clients.py")
"""A locustfile, beside the user's."""
FILE_VARIABLE = "SEISM_LOCUST_CLIENTS"
"""Environment variable: the file to which ``CLIENTS`` writes."""
PREFIX = "locust"
"""Of its files in the report's folder."""
SPAWNED = "All users spawned"
"""What it logs when it is up (``locust/runners.py``)."""
ANSWERED = ("HTTPError", "CatchResponseError")
"""Failures that have a response: its HTTP clients raise the first for a bad status, and the
second is a test's own opinion."""
LOOK_SECONDS = 0.1
STOP_SECONDS = 5
"""How long its users may take to end what they do."""


def command(options: Locust, folder: Path, url: str, *, request_ids: bool = True) -> list[str]:
    """How it is started; its figures go to ``folder``. With ``request_ids`` its clients send ids,
    and what they saw goes to ``clients_file``. Raises ConfigurationError.
    """
    if find_spec("locust") is None:
        raise ConfigurationError("load.locust: Locust is not installed: pip install seism[locust]")
    ours = [str(CLIENTS)] if request_ids else []
    words = [
        *(sys.executable, "-m", "locust", "--headless", "--only-summary"),
        *("--locustfile", ",".join([*ours, options.file]), "--host", url),
        *("--users", str(options.users), "--spawn-rate", f"{options.spawn_rate:g}"),
        *("--stop-timeout", str(STOP_SECONDS), "--exit-code-on-error", "0"),
        *("--csv", str(folder / PREFIX), "--json-file", str(folder / PREFIX)),
    ]
    if options.processes > 1:
        words += ["--processes", str(options.processes)]
    if options.workers:
        host, port = address(options.listen, "load.locust.listen")
        words += ["--master", "--master-bind-host", host, "--master-bind-port", str(port)]
        words += ["--expect-workers", str(options.workers)]
    return words


def clients_file(folder: Path) -> Path:
    """Where ``locust_clients`` writes what the clients saw."""
    return folder / f"{PREFIX}_clients.jsonl"


class LocustDriver:
    """Waits while Locust sends; see ``driver.LoadDriver``."""

    flowing = True

    def __init__(
        self, options: Locust, folder: Path, child: Child, children: Supervisor, check: Check
    ) -> None:
        self._options = options
        self._folder = folder
        self._child = child
        self._children = children
        self._check = check

    def wait_until_spawned(self) -> None:
        """Raises NotReady if its users are not there in time, or its workers."""
        spawning = self._options.users / self._options.spawn_rate
        end = time.monotonic() + self._options.start_seconds + spawning
        while SPAWNED not in self._log():
            self._alive()
            self._check()
            if time.monotonic() > end:
                raise NotReady(f"Locust has not started its users: {self._last()}")
            time.sleep(LOOK_SECONDS)

    def segment(
        self, name: str, amount: float, route: int | None = None, unit: str = "",
        least_s: float = 0, enough: Callable[[], bool] | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """``amount`` seconds pass; nothing is known yet of what came of them.

        What its clients saw is known at the end only, so ``enough`` is not asked.
        """
        end = time.monotonic() + max(amount, least_s)
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, LOOK_SECONDS))
            self._alive()
            self._check()
        return {}

    def check(self, name: str) -> None:
        """Its requests are no actions."""

    def totals(self) -> dict[str, Any]:
        """What it says of the whole run, once it has ended. Raises SeismError."""
        try:
            return read(self._folder)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SeismError(f"Locust left no figures ({error}): {self._last()}") from None

    def clients(self) -> list[list[Any]]:
        """What its clients saw, once it has ended: the fields of ``journal.ClientRequest``."""
        try:
            lines = clients_file(self._folder).read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in lines]

    def _alive(self) -> None:
        code = self._child.code()
        if code is not None:
            raise SeismError(f"Locust ended with exit code {code}: {self._last()}")

    def _log(self) -> str:
        return "\n".join(self._children.tail("load", 1000))

    def _last(self) -> str:
        lines = [line for line in self._children.tail("load") if line.strip()]
        return lines[-1] if lines else "it said nothing"


def read(folder: Path) -> dict[str, Any]:
    """Its figures as ``journal.LoadDone`` has them; times in seconds.

    What it gives no reason for counts as without a response.
    """
    rows = json.loads((folder / f"{PREFIX}.json").read_text())
    answered: dict[tuple[str, str], int] = {}
    with (folder / f"{PREFIX}_failures.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["Error"].startswith(ANSWERED):
                key = (row["Method"], row["Name"])
                answered[key] = answered.get(key, 0) + int(row["Occurrences"])
    routes = {}
    for row in rows:
        key = (row["method"] or "", row["name"])
        failed = min(row["num_failures"], answered.get(key, 0))
        routes[" ".join(filter(None, key))] = {
            "count": row["num_requests"],
            "statuses": {"failed": failed} if failed else {},
            "no_response": row["num_failures"] - failed,
            "truncated": 0,
            "max": round(row["max_response_time"] / 1000, 6),
        }
    return {
        "segment": "locust",
        "requests": sum(figures["count"] for figures in routes.values()),
        "routes": routes,
    }
