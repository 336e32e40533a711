"""What is observed is what the client got, in every framework and however it is wrapped."""

from __future__ import annotations

import contextlib
import http.client
import logging
import threading
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import waitress.server

from seism_middleware.contract import PERTURBATION_HEADER, Hello, RequestBegun, RequestEnded
from seism_middleware.frameworks import follow, readable, uniform
from tests.seism_middleware import apps
from tests.seism_middleware.peer import Peer, eventually
from tests.seism_middleware.test_asgi import serving
from tests.seism_middleware.test_wsgi import call

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:pyramid", "ignore:pkg_resources", "ignore:Deprecated call"
)


@contextlib.contextmanager
def serving_wsgi(app: Any) -> Iterator[http.client.HTTPConnection]:
    """A real waitress in a thread, and a connection to it."""
    server = waitress.server.create_server(app, host="127.0.0.1", port=0, threads=2)

    def run() -> None:
        with contextlib.suppress(OSError):  # its select() sees the sockets go
            server.run()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        client = http.client.HTTPConnection("127.0.0.1", server.effective_port, timeout=20)
        yield client
        client.close()
        eventually(lambda: not server.active_channels, "the server noticed")
    finally:
        server.close()
        thread.join(20)


def ask(client: http.client.HTTPConnection, path: str) -> int:
    client.request("GET", path)
    answer = client.getresponse()
    with contextlib.suppress(http.client.HTTPException, OSError):
        answer.read()
    client.close()
    return answer.status


PATHS = ["/items/blue", "/nothing/12", "/busy/blue", "/raises/blue", "/breaks/blue"]


@pytest.mark.parametrize("setup", apps.SETUPS)
def test_each_sees_what_the_client_sees(setup: str, peer: Peer) -> None:
    kind, build, seen = apps.SETUPS[setup]
    app = build(peer.address)
    logging.getLogger("waitress").addHandler(logging.NullHandler())
    with serving_wsgi(app) if kind == "wsgi" else serving(app, "auto") as client:
        statuses = [ask(client, path) for path in PATHS]
    eventually(lambda: len({r.request for r in peer.records(RequestEnded)}) == 5, "all five")
    eventually(lambda: peer.records(RequestEnded)[-1].body == "truncated", "the last one")
    assert statuses == [200, 404, 503, 500, 200]
    last = {r.request: r for r in peer.records(RequestEnded)}
    assert [(r.route, r.status, r.body, r.exception) for r in last.values()] == [
        ("/items/{name}", 200, "complete", ""),
        ("/nothing/{id}", 404, "complete", ""),
        ("/busy/{name}", 503, "complete", ""),
        ("/raises/{name}", 500, "complete", seen),
        ("/breaks/{name}", 200, "truncated", "KeyError"),
    ]
    assert [r.retry_after for r in last.values()] == [False, False, True, False, False]
    assert len(peer.records(RequestBegun)) == 5, "each is counted once"
    hellos: list[Hello] = peer.records(Hello)
    assert {hello.interface for hello in hellos} == {kind}
    # One worker, one stream; it says hello again if it has patched a driver meanwhile.
    assert len({hello.worker for hello in hellos}) == len(peer.connections) == 1
    assert all(set(a.patched) < set(b.patched) for a, b in pairwise(hellos)), hellos


@pytest.mark.parametrize("name", apps.SHOWING)
def test_each_can_say_in_a_header_what_hit(
    name: str, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, build = apps.SHOWING[name]
    app = build(peer.address)
    known = iter(["p1,p2", ""])
    monkeypatch.setattr("seism_middleware.wsgi.certain", lambda attributions: next(known))
    with serving_wsgi(app) if kind == "wsgi" else serving(app, "auto") as client:
        seen = []
        for _ in range(2):
            client.request("GET", "/items/blue")
            answer = client.getresponse()
            assert answer.read() == b"blue"
            seen.append(answer.headers.get_all(PERTURBATION_HEADER))
    assert seen == [["p1,p2"], None]


@pytest.mark.parametrize("name", apps.SETUPS)
def test_unconfigured_is_inert(name: str) -> None:
    kind, build, _ = apps.SETUPS[name]
    app = build("")
    threads = threading.active_count()
    if kind == "wsgi":
        chunks, error = call(app, PATH_INFO="/items/blue")
        assert (b"".join(chunks), error) == (b"blue", None)
        assert threading.active_count() == threads


@pytest.mark.parametrize(
    ("pattern", "shown"),
    [
        ("/a/<b>", "/a/{b}"),
        ("/a/<int:b>/<any(x,y):c>", "/a/{b}/{c}"),
        ("a/{b}", "/a/{b}"),
        (r"/a/{b:\d{1,2}}/{c:[a-z]+}*rest", "/a/{b}/{c}*rest"),
        ("", "/"),
    ],
)
def test_patterns_look_alike(pattern: str, shown: str) -> None:
    assert uniform(pattern) == shown


@pytest.mark.parametrize(
    ("route", "shown"),
    [
        ("items/<int:pk>/", "items/<int:pk>/"),
        ("^render^/?$", "render/"),
        ("render/?$", "render/"),
        ("items/<int:pk>/^more/?$", "items/<int:pk>/more/"),
        (r"^(?P<link_id>[a-zA-Z0-9]+)/(?:x/)?y\.json$", "<link_id>/x/y.json"),
        (r"^(?P<a>(x|\)[)]y))/b/(\w+)/\d{4}/.*$", "<a>/b/<var>/<var>/<var>"),
    ],
)
def test_regular_expressions_of_django(route: str, shown: str) -> None:
    assert readable(route) == shown


def test_a_django_that_resolves_elsewhere_is_left_alone() -> None:
    """Before 3.1: an error of ours would be every request's."""
    pytest.importorskip("django")
    from django.core.handlers.base import BaseHandler

    class Older:
        def __init__(self, app: Any) -> None:
            self.app = app

    class OldHandler(BaseHandler):
        resolve_request = property()

    handler = OldHandler()
    follow(Older(handler))
    assert vars(handler) == {}


def test_a_flask_app_below_a_mount_point(peer: Peer) -> None:
    app = apps.SETUPS["flask wsgi_app"][1](peer.address)
    call(app, SCRIPT_NAME="/shop", PATH_INFO="/items/blue")
    assert peer.wait(RequestEnded)[0].route == "/shop/items/{name}"


def test_explicit_tweens_leave_ours_out_and_that_is_said(
    peer: Peer, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {"pyramid.includes": "seism_middleware", "seism.sidecar": peer.address}
    explicit = "pyramid.tweens.excview_tween_factory"
    call(apps.pyramid(**settings, **{"pyramid.tweens": explicit}), PATH_INFO="/items/blue")
    (record,) = [r for r in caplog.records if r.name.startswith("seism_middleware")]
    assert record.levelname == "WARNING" and "\n" not in record.getMessage()
    assert "seism_middleware.pyramid.tween_factory" in record.getMessage()
    assert peer.records(RequestBegun) == []

    caplog.clear()
    explicit = f"seism_middleware.pyramid.tween_factory\n{explicit}"
    call(apps.pyramid(**settings, **{"pyramid.tweens": explicit}), PATH_INFO="/items/blue")
    assert [r for r in caplog.records if r.name.startswith("seism_middleware")] == []
    assert peer.wait(RequestEnded)[0].route == "/items/{name}"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seism.sidecars": "x"}, "did you mean 'seism.sidecar'"),
        ({"seism.sidecar": "nowhere"}, "'nowhere' is not an address"),
        ({"seism.patch": "some"}, "patch: 'some' is none of all, sockets, none"),
    ],
)
def test_a_bad_setting_of_pyramids_is_named(settings: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        apps.pyramid(**{"pyramid.includes": "seism_middleware", **settings})


def test_a_tween_keeps_the_length_of_a_response(peer: Peer) -> None:
    app = apps.SETUPS["pyramid tween"][1](peer.address)
    with serving_wsgi(app) as client:
        for method in ("GET", "HEAD"):
            client.request(method, "/items/blue")
            answer = client.getresponse()
            assert (answer.read(), answer.headers["Content-Length"]) == (
                b"blue" if method == "GET" else b"",
                "4",
            )
    assert [r.body for r in peer.wait(RequestEnded, 2)] == ["complete", "complete"]
