"""A sidecar and an app behind its proxy, for tests of what shows them live."""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from seism.client import Control
from seism.journal import read
from seism.verdict.request import Opinion, opinion
from seism.verdict.rules import Rules
from seism_middleware.contract import RequestEnded
from tests.processes import app, sidecar, until
from tests.servers import Valkey

CHAOS = """
[[backend]]
name = "cache"
upstream = "127.0.0.1:9"
[chaos]
per_hour = 36000
seconds = 0.4
[[chaos.mix]]
name = "away"
backend = "cache"
type = "down"
"""
"""A sidecar's file with standing chaos, on a backend that is not there."""


@dataclass(frozen=True)
class Stage:
    control: Control
    port: int
    """The app's."""
    journal: Path

    @property
    def url(self) -> str:
        return f"http://{self.control.host}:{self.control.port}/seism/"

    def get(self, path: str) -> int | None:
        """The status of the app's answer, None for none."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(connection):
            try:
                connection.request("GET", path)
                return connection.getresponse().status
            except (OSError, http.client.HTTPException):
                return None

    @property
    def seen(self) -> int:
        """How many requests the sidecar has observed."""
        return int(self.control.call("GET", "/seism/workers")["observed"])

    def opinions(self) -> dict[str, Opinion]:
        """What the journal's requests deserve, by their ids."""
        records = (entry.record for entry in read(self.journal))
        return {r.request: opinion(r, Rules()) for r in records if isinstance(r, RequestEnded)}

    def journalled(self, count: int) -> dict[str, Opinion]:
        """The same, once there are ``count`` of them."""
        until(lambda: len(self.opinions()) >= count)
        return self.opinions()

    @contextlib.contextmanager
    def toxic(self, type: str, **attributes: object) -> Iterator[None]:
        """The cache is perturbed until the block ends."""
        wanted = {"type": type, "name": "t", "stream": "upstream", "attributes": attributes}
        self.control.add_toxic("cache", wanted)
        try:
            yield
        finally:
            self.control.remove_toxic("cache", "t")


@contextlib.contextmanager
def staged(journal: Path) -> Iterator[Stage]:
    """A Valkey, a sidecar that journals to ``journal``, and the small app, which has answered."""
    with Valkey() as valkey, sidecar(journal) as control:
        cache = control.call(
            "POST", "/proxies", {"name": "cache", "upstream": f"127.0.0.1:{valkey.port}"}
        )["listen"]
        with app("wsgi", "tests.experiment.small_app", control, CACHE=cache) as (port, _):
            stage = Stage(control, port, journal)

            def followed() -> bool:
                """Whether the worker knows the proxies: its first requests can come before."""
                seen = stage.seen
                assert stage.get("/") == 200
                until(lambda: stage.seen > seen)
                return b'"sends"' in journal.read_bytes()

            until(followed)
            yield stage
