from __future__ import annotations

import pytest

from seism.errors import ConfigurationError
from seism.sidecar.control.guard import Forbidden, Guard, Unauthorized

ME = "127.0.0.1:8474"
BROWSER = "Mozilla/5.0 (X11; Linux x86_64)"


@pytest.mark.parametrize(
    "headers",
    [
        {"host": ME},
        {"host": "localhost:8474"},
        {"host": "LOCALHOST"},
        {"host": "[::1]:8474"},
        {"host": "127.0.0.2:8474"},
        {"host": ME, "origin": f"http://{ME}", "user-agent": BROWSER},
        {"host": ME, "sec-fetch-site": "same-origin", "user-agent": BROWSER},
        {"host": ME, "sec-fetch-site": "none", "user-agent": BROWSER},
    ],
)
def test_ours(headers: dict[str, str]) -> None:
    Guard("127.0.0.1", None).check(headers)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"host": ""},
        {"host": "evil.example"},
        {"host": "evil.example:8474"},
        {"host": "localhost.evil.example"},
        {"host": "localhost@evil.example"},
        {"host": "[::1"},
        {"host": "192.0.2.1:8474"},
        {"host": ME, "origin": "http://evil.example"},
        {"host": ME, "origin": "null"},
        {"host": ME, "origin": "http://127.0.0.1:9999"},
        {"host": ME, "sec-fetch-site": "cross-site"},
        {"host": ME, "sec-fetch-site": "same-site"},
        {"host": ME, "user-agent": BROWSER},
    ],
)
def test_not_ours(headers: dict[str, str]) -> None:
    with pytest.raises(Forbidden):
        Guard("127.0.0.1", None).check(headers)


def test_the_host_that_is_listened_on_is_ours() -> None:
    bearer = {"authorization": "Bearer secret"}
    Guard("sidecar.internal", "secret").check({"host": "Sidecar.internal:8474", **bearer})
    Guard("0.0.0.0", "secret").check({"host": "whatever:8474", **bearer})
    with pytest.raises(Forbidden):
        Guard("sidecar.internal", "secret").check({"host": "other:8474", **bearer})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.1", "sidecar.internal"])
def test_more_than_loopback_needs_a_token(host: str) -> None:
    with pytest.raises(ConfigurationError, match="only with a token"):
        Guard(host, None)
    Guard(host, "secret")


def test_the_token() -> None:
    guard = Guard("127.0.0.1", "sécret")
    guard.check({"host": ME, "authorization": "bearer " + "sécret".encode().decode("latin-1")})
    for wrong in ("", "sécret", "Bearer", "Bearer x", "Basic sécret", "Bearer sécret2"):
        with pytest.raises(Unauthorized):
            guard.check({"host": ME, "authorization": wrong})


def test_what_is_public_needs_no_token_and_is_guarded_all_the_same() -> None:
    guard = Guard("127.0.0.1", "secret")
    guard.check({"host": ME, "user-agent": BROWSER}, public=True)
    with pytest.raises(Forbidden):
        guard.check({"host": ME, "origin": "http://evil.example"}, public=True)
    with pytest.raises(Forbidden):
        Guard("127.0.0.1", None).check({"host": ME, "user-agent": BROWSER}, public=True)
