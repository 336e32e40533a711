"""Without a token only its own user and root may call a real ``seism serve``.

Other users are played by processes that give root up; elsewhere the same process plays the
sidecar's own user, and the guard is asked about the others directly.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from seism.client import Control
from seism.sidecar.control.guard import Guard, Unauthorized
from seism.sidecar.control.peer import user_of
from tests.processes import sidecar

ROOT = os.geteuid() == 0
ME = {"host": "127.0.0.1:8474"}

CALL = """
import http.client, json, os, sys
"x".encode("idna")  # what is imported later cannot be read any more
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
connection = http.client.HTTPConnection(sys.argv[1], int(sys.argv[2]), timeout=20)
headers = {"Authorization": "Bearer " + sys.argv[6]} if sys.argv[6] else {}
connection.request(sys.argv[3], sys.argv[4], sys.argv[5] or None, headers)
answer = connection.getresponse()
print(json.dumps([answer.status, answer.read().decode()]))
"""


def ask(control: Control, method: str, path: str, body: Any = None, token: str = "") -> Any:
    """Status and text of one call by a user that is neither root nor, if we are root, us."""
    given = "" if body is None else json.dumps(body)
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", CALL, control.host, str(control.port), method, path,
         given, token],
        capture_output=True, text=True, timeout=60, check=True, cwd="/",
    )  # fmt: skip
    return json.loads(done.stdout)


NAMING: dict[str, dict[str, Any]] = {
    "a Unix socket to reach": {"upstream": "unix:/tmp/x.sock"},
    "a Unix socket to make": {"listen": "unix:/tmp/x.sock"},
    "a certificate": {"tls": {"certificate": "/etc/shadow"}},
    "a key": {"tls": {"certificate": "", "key": "/etc/shadow"}},
    "a CA": {"upstream_tls": {"ca": "/etc/nothing"}},
}
OTHERS = 401 if ROOT else 200


def test_other_users_need_the_token_or_the_option(tmp_path: Path) -> None:
    with sidecar(tmp_path / "journal.jsonl") as control:
        assert control.proxies() == {}
        status, text = ask(control, "GET", "/proxies")
        assert status == OTHERS
        assert not ROOT or ("SEISM_TOKEN" in text and "--any-user" in text)
        # A stream of a worker, which is an upgrade, needs it as well.
        assert ask(control, "GET", "/seism/stream")[0] == (401 if ROOT else 426)
    with sidecar(tmp_path / "journal.jsonl", SEISM_TOKEN="secret") as control:
        assert ask(control, "GET", "/proxies", token="secret")[0] == 200
        assert ask(control, "GET", "/proxies", token="wrong")[0] == 401


@pytest.mark.parametrize("what", NAMING)
def test_nothing_that_names_a_file_without_the_token_even_then(tmp_path: Path, what: str) -> None:
    """Nor does the answer tell whether the file exists."""
    spec = {"name": "p", "upstream": "127.0.0.1:1", **NAMING[what]}
    with sidecar(tmp_path / "journal.jsonl", "--any-user") as control:
        control.call("POST", "/proxies", {"name": "q", "upstream": "127.0.0.1:1"})
        for path, body in (
            ("/proxies", spec), ("/populate", [spec]), ("/proxies/q", {**spec, "name": "q"}),
        ):  # fmt: skip
            status, text = ask(control, "POST", path, body)
            if ROOT:
                assert (status, "needs a token" in text) == (403, True), (path, text)
        assert ask(control, "GET", "/proxies")[0] == 200
        good = {"name": "r", "upstream": "127.0.0.1:1"}
        assert ask(control, "POST", "/proxies", good)[0] == 201


@pytest.mark.parametrize(
    ("user", "any_user", "trusted"),
    [
        (os.geteuid(), False, True), (0, False, True), (os.geteuid() + 1, False, None),
        (None, False, None), (os.geteuid() + 1, True, False), (None, True, False),
    ],
)  # fmt: skip
def test_what_the_guard_makes_of_users(
    user: int | None, any_user: bool, trusted: bool | None
) -> None:
    guard = Guard("127.0.0.1", None, any_user=any_user)
    if trusted is None:
        with pytest.raises(Unauthorized):
            guard.check(ME, user=lambda: user)
    else:
        assert guard.check(ME, user=lambda: user) is trusted
    assert guard.check(ME, public=True, user=lambda: user) is False


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_the_kernel_tells_whose_a_connection_is(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = "::" if host.startswith("::ffff:") else host
    both = {"dualstack_ipv6": True} if bound == "::" else {}
    with socket.create_server((bound, 0), family=family, **both) as server:
        with socket.create_connection((host, server.getsockname()[1])):
            accepted, peer = server.accept()
            with accepted:
                assert user_of(peer, accepted.getsockname()) == os.geteuid()
                # The other way round it is the server's end, which is ours as well; a pair that
                # does not exist is nobody's, though somebody listens there.
                assert user_of((peer[0], 1), accepted.getsockname()) is None
                assert user_of(accepted.getsockname(), (peer[0], 1)) is None


def test_what_is_orphaned_is_nobodys() -> None:
    """The kernel shows its user as 0."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        accepted, peer = server.accept()
        with accepted:
            client.close()
            assert user_of(peer, accepted.getsockname()) is None
