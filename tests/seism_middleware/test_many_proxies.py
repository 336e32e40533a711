"""As many proxies as a sidecar has room for, and a worker that must know them all."""

from __future__ import annotations

from pathlib import Path

import pytest

from seism.model import address
from seism.proxy.collection import MAX_PROXIES
from seism_middleware import observer
from seism_middleware.wsgi import SeismWSGI
from tests.processes import sidecar, until
from tests.seism_middleware.test_wsgi import call, sized


@pytest.mark.parametrize("joins", ["before", "after"])
def test_a_worker_knows_all_proxies(tmp_path: Path, joins: str) -> None:
    with sidecar(tmp_path / "journal.jsonl") as control:
        app = SeismWSGI(sized(b"x"), sidecar=f"{control.host}:{control.port}")
        wanted = [
            {"name": f"backend-number-{n}", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:9"}
            for n in range(MAX_PROXIES)
        ]
        if joins == "before":
            call(app)
            until(lambda: control.call("GET", "/seism/workers")["workers"])
        made = control.call("POST", "/populate", wanted)["proxies"]
        call(app)
        assert len(made) == MAX_PROXIES
        listens = {each["name"]: address(each["listen"], "listen") for each in made}

        def unknown() -> list[str]:
            backend_of = observer.LEDGER.backend_of
            return [name for name, listen in listens.items() if backend_of(listen) != name]

        until(lambda: not unknown())
        assert len(control.call("GET", "/seism/workers")["workers"]) == 1
