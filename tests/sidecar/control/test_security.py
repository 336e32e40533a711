"""Who may call a real ``seism serve``: what a browser can be made to send does nothing."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from seism.client import Control
from tests.processes import process, sidecar
from tests.proxy.harness import PATIENCE

BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
TOKEN = "a token for this test"

EVIL = {
    "a script of another site": {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"},
    "a script of another port": {"Origin": "http://127.0.0.1:1", "Sec-Fetch-Site": "same-site"},
    "a script of an https page": {"Origin": "https://{host}", "Sec-Fetch-Site": "cross-site"},
    "a form, an image or a link": {"Sec-Fetch-Site": "cross-site"},
    "a form of an old browser": {"Origin": "null"},
    "an image in an old browser": {},
    "a name that was made to point here": {"Host": "evil.example:{port}",
                                           "Origin": "http://evil.example:{port}",
                                           "Sec-Fetch-Site": "same-origin"},
    "the same without Origin": {"Host": "evil.example", "Sec-Fetch-Site": "same-origin"},
}  # fmt: skip
"""What a page that is not ours can have a browser send."""

REQUESTS = {
    "delete by fetch": ("DELETE", "/proxies/backend", b"", {}),
    "simple post": ("POST", "/proxies/backend", b'{"enabled":false}', {
        "Content-Type": "text/plain"}),
    "form": ("POST", "/proxies/backend", b'{"enabled":false,"x":"=x"}', {
        "Content-Type": "application/x-www-form-urlencoded"}),
    "reset": ("POST", "/reset", b"", {}),
    "phase": ("POST", "/seism/phase", b'{"phase":"steady"}', {"Content-Type": "text/plain"}),
    "load": ("POST", "/seism/load", b'{"segment":"x","requests":0,"routes":{}}', {}),
    "clients": ("POST", "/seism/clients", b'{"requests":[]}', {}),
    "app ended": ("POST", "/seism/app-ended", b'{"step":0}', {}),
    "diagnosis": ("POST", "/seism/diagnosis", b'{"findings":["x"]}', {}),
    "plan": ("POST", "/seism/plan", b'{"steps":[]}', {}),
    "stopped": ("POST", "/seism/stopped", b'{"why":"x"}', {}),
    "lease": ("POST", "/seism/leases", b'{"seconds":1}', {}),
    "renewal": ("PUT", "/seism/leases/{lease}", b"", {}),
    "census": ("POST", "/seism/census", b"", {}),
    "events": ("GET", "/seism/events", None, {"Accept": "text/event-stream"}),
    "connections": ("GET", "/seism/connections", None, {}),
    "metrics": ("GET", "/metrics", None, {}),
    "document": ("GET", "/seism/openapi.json", None, {}),
    "proxies": ("GET", "/proxies", None, {}),
    "workers": ("GET", "/seism/workers", None, {}),
    "page": ("GET", "/seism/", None, {}),
    "its script": ("GET", "/seism/assets/page.js", None, {}),
    "stream": ("GET", "/seism/stream", None, {"Connection": "Upgrade", "Upgrade": "seism/1"}),
    "preflight": ("OPTIONS", "/proxies/backend", None, {
        "Access-Control-Request-Method": "DELETE"}),
}  # fmt: skip

PUBLIC = ("/seism/", "/seism/assets/page.js")
"""The dashboard's own files, which hold nothing; a browser cannot send a token with them."""


def test_the_list_has_every_own_route(served: Control) -> None:
    document = served.call("GET", "/seism/openapi.json")
    ours = {path for path in document["paths"] if path.startswith(("/seism/", "/metrics"))}
    asked = {path for _, path, _, _ in REQUESTS.values()}
    assert ours <= {*asked, "/seism/assets/{name}"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Control]:
    with sidecar(tmp_path_factory.mktemp("security") / "journal.jsonl") as control:
        control.call("POST", "/proxies", {"name": "backend", "upstream": "127.0.0.1:1"})
        control.add_toxic("backend", {"type": "latency"})
        yield control


@pytest.fixture(scope="module")
def tokened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Control]:
    """One that listens everywhere, which it does only with a token."""
    journal = tmp_path_factory.mktemp("tokened") / "journal.jsonl"
    options = ("--host", "0.0.0.0", "--port", "0", "--journal", str(journal))
    with process(
        sys.executable, "-m", "seism", "serve", *options,
        stdout=subprocess.PIPE, env={"SEISM_TOKEN": TOKEN},
    ) as child:  # fmt: skip
        assert child.stdout is not None
        port = child.stdout.readline().decode().strip().rpartition(":")[2]
        yield Control("127.0.0.1", int(port), TOKEN)
    assert TOKEN not in journal.read_text()


def ask(
    control: Control, method: str, path: str, body: bytes | None, headers: dict[str, str]
) -> tuple[int, http.client.HTTPMessage, bytes]:
    where = {"host": f"{control.host}:{control.port}", "port": str(control.port)}
    filled = {name: value.format(**where) for name, value in headers.items()}
    connection = http.client.HTTPConnection(control.host, control.port, timeout=PATIENCE)
    try:
        connection.request(method, path, body, filled)
        response = connection.getresponse()
        stream = "event-stream" in response.headers.get("Content-Type", "")
        upgraded = response.status == 101
        return response.status, response.headers, b"" if stream or upgraded else response.read()
    finally:
        connection.close()


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
@pytest.mark.parametrize("evil", EVIL.values(), ids=EVIL)
def test_a_browser_cannot_drive_it_from_another_site(
    served: Control, evil: dict[str, str], request_: tuple[str, str, bytes | None, dict[str, str]]
) -> None:
    method, path, body, own = request_
    before = served.proxies()
    status, headers, said = ask(served, method, path, body, {"User-Agent": BROWSER, **own, **evil})
    assert status == 403
    assert b"backend" not in said
    assert not [name for name in headers if name.lower().startswith("access-control-")]
    assert served.proxies() == before


def test_our_own_page_may(served: Control) -> None:
    own = {"User-Agent": BROWSER, "Origin": "http://{host}", "Sec-Fetch-Site": "same-origin"}
    for path in ("/seism/connections", "/seism/events", "/metrics"):
        assert ask(served, "GET", path, None, own)[0] == 200


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
@pytest.mark.parametrize(
    "authorization", [None, "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x"]
)
def test_without_its_token_nothing_is_answered(
    tokened: Control, authorization: str | None,
    request_: tuple[str, str, bytes | None, dict[str, str]],
) -> None:  # fmt: skip
    method, path, body, own = request_
    headers = {**own, **({} if authorization is None else {"Authorization": authorization})}
    status, answered, said = ask(tokened, method, path, body, headers)
    if path in PUBLIC:
        assert status == 200 and b"127.0.0.1" not in said
        return
    assert status == 401
    assert answered["WWW-Authenticate"] == "Bearer"
    assert set(json.loads(said)) == {"error", "title", "status"}


def test_with_its_token_it_is(tokened: Control) -> None:
    assert tokened.call("GET", "/seism/connections") == {"open": 0, "connections": []}
    own = {"Authorization": f"Bearer {TOKEN}"}
    assert ask(tokened, "GET", "/seism/events", None, own)[0] == 200
    upgrade = {**own, "Connection": "Upgrade", "Upgrade": "seism/1"}
    assert ask(tokened, "GET", "/seism/stream", None, upgrade)[0] == 101


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_more_than_loopback_does_not_start_without_a_token(host: str, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "SEISM_TOKEN"}
    command = ["serve", "--host", host, "--port", "0", "--journal", str(tmp_path / "j.jsonl")]
    done = subprocess.run(
        [sys.executable, "-m", "seism", *command],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "only with a token" in done.stderr
