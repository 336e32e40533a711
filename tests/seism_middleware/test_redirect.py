"""``--redirect``: an unmodified process, whose connects go elsewhere."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import seism_middleware.redirect
from seism_middleware.contract import REDIRECT_VARIABLE
from seism_middleware.redirect import clients, sitecustomize
from tests.debian import unable

FOLDER = str(Path(seism_middleware.redirect.__file__).parent)


@pytest.fixture
def there() -> Iterator[str]:
    """The address of a server that says ``hello``, as often as it is asked."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(b"hello")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def run(code: str, where: dict[str, str], *path: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={
            **os.environ,
            REDIRECT_VARIABLE: json.dumps(where),
            "PYTHONPATH": os.pathsep.join([FOLDER, *path]),
        },
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


ASYNC = """
import asyncio
async def main():
    reader, _ = await asyncio.open_connection("127.0.0.1", 1)
    print(await reader.read(9))
asyncio.run(main())
"""
SIX = "s = socket.socket(socket.AF_INET6); s.connect(('::1', 1)); print(s.recv(9))"


@pytest.mark.parametrize(
    "code",
    [
        "import socket; print(socket.create_connection(('127.0.0.1', 1)).recv(9))",
        "import socket; s = socket.socket(); print(s.connect_ex(('127.0.0.1', 1)), s.recv(9))",
        f"import socket; {SIX}",
        ASYNC,
    ],
)
def test_connects_go_to_the_proxy(there: str, code: str) -> None:
    assert "b'hello'" in run(code, {"127.0.0.1:1": there, "::1:1": there})


CLIENTS = {
    "psycopg2": "psycopg2.connect('postgresql://u@127.0.0.1:1/db?connect_timeout=5')",
    "psycopg": "psycopg.connect('host=127.0.0.1 connect_timeout=5', port=1)",
    "psycopg.pq": "asyncio.run(psycopg.AsyncConnection.connect('host=localhost port=1'))",
    "MySQLdb": "MySQLdb.connect('127.0.0.1', 'u', 'p', 'db', 1)",
    "pylibmc": "pylibmc.Client(['127.0.0.1:1']).get('a')",
    "ldap": "ldap.initialize('ldap://127.0.0.1:1').simple_bind_s()",
    "uvloop": (
        "asyncio.Runner(loop_factory=uvloop.new_event_loop).run("
        "asyncio.open_connection('127.0.0.1', 1))"
    ),
}
"""By the module that each needs."""


@pytest.mark.parametrize("module", CLIENTS)
@pytest.mark.parametrize("early", [False, True], ids=["alone", "observed"])
def test_connects_of_clients_in_c_go_to_the_proxy(module: str, early: bool) -> None:
    """Also where the observer waits for the same import."""
    name = module.partition(".")[0]
    if importlib.util.find_spec(name) is None:
        unable(f"{name} is missing: pip install '.[matrix]'")
    observer = "from seism_middleware.drivers import early; early.EARLY.start()" if early else ""
    code = f"""
{observer}
import asyncio, contextlib, {name}
with contextlib.suppress(Exception):
    {CLIENTS[module]}
"""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepted = []

        def serve() -> None:
            connection, _ = listener.accept()
            accepted.append(connection)
            connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        there = f"127.0.0.1:{listener.getsockname()[1]}"
        run(code, {"127.0.0.1:1": there, "localhost:1": there, "::1:1": there})
        thread.join(10)
    assert accepted


def test_what_a_driver_is_told() -> None:
    where = {"db.example:5432": "127.0.0.1:7", "10.0.0.1:5433": "127.0.0.1:8"}
    assert clients.libpq(where, {"host": "db.example"}) == {"hostaddr": "127.0.0.1", "port": "7"}
    both = clients.libpq(where, {"host": "other,db.example", "port": "1,5432"})
    assert both == {"hostaddr": ",127.0.0.1", "port": "1,7"}
    numeric = clients.libpq(where, {"hostaddr": "10.0.0.1", "port": 5433})
    assert numeric == {"hostaddr": "127.0.0.1", "port": "8"}
    assert clients.libpq(where, {"host": "/var/run/postgresql"}) == {}
    assert clients.libpq(where, {"dbname": "a"}) == {}
    where = {"a:389": "127.0.0.1:7", "b:636": "127.0.0.1:8"}
    assert clients.uri(where, "ldap://a ldaps://B:636/dc=x,ldap://c") == (
        "ldap://127.0.0.1:7 ldaps://127.0.0.1:8/dc=x,ldap://c"
    )


def test_other_addresses_stay_as_they_are(there: str) -> None:
    host, _, port = there.partition(":")
    code = f"import socket; print(socket.create_connection(({host!r}, {port})).recv(9))"
    assert run(code, {"127.0.0.1:1": "127.0.0.1:2"}) == "b'hello'"


def test_a_sitecustomize_that_was_there_runs_too(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import builtins\nbuiltins.was_here = 'yes'\n")
    code = "import socket; print(was_here, hasattr(socket.socket.connect, '__wrapped__'))"
    assert run(code, {}, str(tmp_path)) == "yes True"


def test_what_is_patched_is_listed_and_undone() -> None:
    before = dict(socket.socket.__dict__)
    sitecustomize.install({})
    try:
        assert sitecustomize.names() == ("socket.socket.connect", "socket.socket.connect_ex")
        assert socket.socket.connect is not before.get("connect")
    finally:
        sitecustomize.uninstall()
    assert sitecustomize.names() == ()
    assert dict(socket.socket.__dict__) == before


def test_unix_sockets_and_what_is_no_address_stay() -> None:
    where = {"a:1": "127.0.0.1:2"}
    for family, address in (
        (socket.AF_UNIX, "/a"), (socket.AF_INET, "a:1"), (socket.AF_INET, ("b", 1)),
    ):  # fmt: skip
        assert sitecustomize.target(address, family, where) is address
    assert sitecustomize.target(("A", 1), socket.AF_INET, where) == ("127.0.0.1", 2)
    assert sitecustomize.target(("a", 1, 0, 0), socket.AF_INET6, where) == (
        "::ffff:127.0.0.1", 2, 0, 0,
    )  # fmt: skip


OBSERVED = """
import asyncio, contextlib, http.client, socket, sys
from seism_middleware.contract import Proxied
from seism_middleware.ledger import Ledger
from seism_middleware.patches import Patches
from seism_middleware.traffic import Request, current

port = int(sys.argv[1])
ledger = Ledger()
ledger.watch(0, [Proxied("db", "127.0.0.1", port)])
patches = Patches(ledger)
patches.install()
request = Request("r", "GET", 0.0)
current.set(request)
with contextlib.suppress(OSError):
    {code}
print(sorted(request.refused or ()))
"""
NATIVE = "from gevent.socket import create_connection; create_connection(('127.0.0.1', 1))"
UVLOOP = (
    "import uvloop; asyncio.Runner(loop_factory=uvloop.new_event_loop).run("
    "asyncio.open_connection('127.0.0.1', 1))"
)
AIOHTTP = """
    import aiohttp, uvloop
    async def main():
        async with aiohttp.ClientSession() as session:
            await session.get("http://127.0.0.1:1/")
    asyncio.Runner(loop_factory=uvloop.new_event_loop).run(main())
"""


@pytest.mark.parametrize(
    ("code", "refused"),
    [
        ("socket.create_connection(('127.0.0.1', 1))", ["db"]),
        ("socket.socket().connect_ex(('127.0.0.1', 1))", ["db"]),
        ("http.client.HTTPConnection('localhost', 1).request('GET', '/')", ["db"]),
        ("asyncio.run(asyncio.open_connection('127.0.0.1', 1))", ["db"]),
        (AIOHTTP.strip(), ["db"]),
        (UVLOOP, ["db"]),
        ("socket.create_connection(('127.0.0.1', 2))", []),
        (NATIVE, []),
    ],
)
def test_a_connect_that_is_redirected_and_fails_is_the_requests(
    code: str, refused: list[str]
) -> None:
    """gevent's own sockets are not redirected: they fail to reach the backend itself."""
    pytest.importorskip("gevent")
    if "uvloop" in code:
        for name in ("aiohttp", "uvloop"):
            if importlib.util.find_spec(name) is None:
                unable(f"{name} is missing: pip install '.[matrix]'")
    with socket.socket() as kept:
        kept.bind(("127.0.0.1", 0))
        port = kept.getsockname()[1]
        there = f"127.0.0.1:{port}"
        script = OBSERVED.format(code=code).replace("sys.argv[1]", f"{port}")
        assert run(script, {"127.0.0.1:1": there, "::1:1": there}) == str(refused)
