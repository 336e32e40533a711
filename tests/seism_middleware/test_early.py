"""Connections of psycopg2 from before the first request; a real server."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator

import pytest

from seism.demo.backends import DATABASE_USER, Backends
from tests.processes import ROOT

SCRIPT = f"""
    import sys
    import seism_middleware.wsgi
    import psycopg2
    from seism_middleware.drivers.span import Spans
    from seism_middleware.ledger import Ledger
    from seism_middleware.patches import Patches

    seen = []
    call = Spans.call

    def told(self, track, fileno, *rest):
        seen.append(fileno())
        return call(self, track, fileno, *rest)

    Spans.call = told
    host, port = sys.argv[1].split(":")
    early = psycopg2.connect(host=host, port=port, user="{DATABASE_USER}", dbname="postgres")
    early.cursor().execute("select 1")
    assert not seen
    patches = Patches(Ledger())
    patches.install(sys.argv[2])
    assert ("psycopg2._connect" in patches.names) == (sys.argv[2] != "none")
    early.cursor().execute("select 1")
    print(seen == [early.fileno()])
    patches.uninstall()
    early.cursor().execute("select 1")
    assert len(seen) < 2
    print(type(psycopg2._connect).__name__)
"""


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with Backends(schema=()) as running:
        yield running.addresses["db"]


@pytest.mark.parametrize(
    ("sidecar", "level", "followed"),
    [("127.0.0.1:9", "all", "True"), ("127.0.0.1:9", "none", "False"), ("", "all", "False")],
)
def test_they_are_followed(database: str, sidecar: str, level: str, followed: str) -> None:
    env = {**os.environ, "SEISM_SIDECAR": sidecar, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), database, level],
        env=env, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout.split() == [followed, "builtin_function_or_method"]


def test_a_driver_that_is_imported_after_the_first_request() -> None:
    """As an app does that is observed and redirected through its environment."""
    folders = [ROOT / "seism_middleware" / name for name in ("redirect", "inject")]
    env = {
        **os.environ,
        "SEISM_SIDECAR": "127.0.0.1:9",
        "SEISM_INJECT": "1",
        "SEISM_REDIRECT": '{"127.0.0.1:5432": "127.0.0.1:9"}',
        "PYTHONPATH": os.pathsep.join(map(str, folders)),
    }
    script = """
        import sys
        import seism_middleware.wsgi
        from seism_middleware.ledger import Ledger
        from seism_middleware.patches import Patches

        Patches(Ledger()).install()
        assert "psycopg2" not in sys.modules
        import psycopg2
        print(psycopg2.connect.__name__)
    """
    words = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "connect\n", done.stderr
