"""Unix sockets, IPv6, TLS and refusals through the API; clients of Toxiproxy see none of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.proxy.ends import NAME, Tls, listen, pair
from tests.sidecar.control.harness import Control, control


@pytest.fixture
def api() -> Iterator[Control]:
    with control() as found:
        yield found


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    return Tls(tmp_path_factory.mktemp("tls"))


def test_a_proxy_between_tls_and_a_unix_socket(api: Control, tmp_path: Path, tls: Tls) -> None:
    server = listen("unix", tmp_path, tls)
    shown_tls = {"certificate": tls.certificate, "key": tls.key, "negotiated": False}
    made = api(
        "POST",
        "/proxies",
        {"name": "a", "listen": "[::1]:0", "upstream": server.address, "TLS": shown_tls},
    )
    assert made.status == 201
    assert made.json == {
        "name": "a",
        "listen": made.json["listen"],
        "upstream": server.address,
        "enabled": True,
        "toxics": [],
        "tls": shown_tls,
        "tls_failures": {},
    }
    assert made.json["listen"].startswith("[::1]:")
    with server.sock, pair("tls", made.json["listen"], server, tls) as (client, there):
        client.sendall(b"hello")
        assert there.recv(5) == b"hello"


def test_tls_to_the_backend_by_an_update(api: Control, tmp_path: Path, tls: Tls) -> None:
    server = listen("tls", tmp_path, tls)
    wanted = {"upstream": server.address, "upstream_tls": {"ca": tls.ca, "name": NAME}}
    changed = api("PATCH", "/proxies/backend", wanted)
    assert changed.json["upstream_tls"] == {
        "ca": tls.ca, "name": NAME, "verify": True, "negotiated": False,
    }  # fmt: skip
    with server.sock, pair("tcp4", changed.json["listen"], server, tls) as (client, there):
        client.sendall(b"hello")
        assert there.recv(5) == b"hello"
    # Who knows nothing of TLS does not turn it off.
    known = {key: changed.json[key] for key in ("name", "listen", "upstream", "enabled")}
    assert api("POST", "/proxies/backend", known).json == changed.json
    assert api("POST", "/populate", [known]).json["proxies"] == [changed.json]


def test_populate_with_other_tls_makes_it_anew(api: Control, tls: Tls) -> None:
    before = api("GET", "/proxies/backend").json
    wanted = {**before, "tls": {"certificate": tls.certificate, "key": tls.key}}
    (after,) = api("POST", "/populate", [wanted]).json["proxies"]
    assert after["tls"] == {**wanted["tls"], "negotiated": False}


def test_what_a_client_sees_of_a_refusal(api: Control) -> None:
    assert api("PATCH", "/proxies/backend", {"refused": "close"}).json["refused"] == "close"
    assert "refused" not in api("PATCH", "/proxies/backend", {"refused": "reset"}).json
    wrong = api("PATCH", "/proxies/backend", {"refused": "rest"})
    assert wrong.status == 400
    assert "did you mean 'reset'?" in wrong.json["error"]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"tls": {}}, "missing required key 'certificate'"),
        ({"tls": "cert.pem"}, "a table is expected"),
        ({"tls": {"certificate": "/nowhere.pem"}}, "/nowhere.pem: no such file or directory"),
        ({"upstream_tls": {"verify": "no"}}, "it must be true or false"),
        ({"listen": "unix:relative"}, "has no absolute path"),
        ({"upstream": "unix:"}, "has no absolute path"),
    ],
)
def test_what_is_wrong_is_named(api: Control, body: dict[str, object], error: str) -> None:
    wrong = api("POST", "/proxies", {"name": "a", "upstream": "127.0.0.1:1", **body})
    assert wrong.status == 400
    assert error in wrong.json["error"]
    assert api("GET", "/proxies/a").status == 404


def test_an_unknown_tls_key_is_not_ignored_in_silence(api: Control) -> None:
    body = {"name": "a", "upstream": "127.0.0.1:1", "upstream_tls": {"verfy": False}}
    assert "did you mean 'verify'?" in api("POST", "/proxies", body).warning
