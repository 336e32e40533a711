from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seism_middleware.route import MAX_SEEN, OTHER, Routes, collapse, fill


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/", "/"),
        ("/items/12", "/items/{id}"),
        ("/items/12/", "/items/{id}/"),
        ("/u/0b5e1c3a-90d4-4a6e-8c1f-1f2e3d4c5b6a/x", "/u/{id}/x"),
        ("/c/deadbeef00", "/c/{id}"),
        ("/feedface", "/feedface"),
        ("/v1/x2", "/v1/x2"),
        ("/api/v2/user-profile/edit.html", "/api/v2/user-profile/edit.html"),
        ("/getUserById/i18n/sha256/oauth2", "/getUserById/i18n/sha256/oauth2"),
        ("/wp-login.php", "/wp-login.php"),
        ("/items:batch", "/items:batch"),
        ("/files/{path}", "/files/{path}"),
        ("/user-17", "/user-{id}"),
        ("/2026-11-30/x", "/{id}/x"),
        ("/keys/sk_live_4eC39HqLyjWDarjtT1zdp7dc", "/keys/sk_live_{id}"),
        ("/reset/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", "/reset/{id}"),
        ("/u/jane.doe@example.org", "/u/{id}"),
        ("/u/jane.doe%40example.org/orders", "/u/{id}/orders"),
        ("/cart;jsessionid=1A530637289A03B07199A44E8D531427", "/cart;{id}"),
        ("/s/k3jd-92ks-x0fw", "/s/{id}"),
        ("/t/dGhpcyBpcyBhIHNlY3JldA==", "/t/{id}"),
        ("/t/QmYwAPJzv5CZsnAzt8auVZRnB", "/t/{id}"),
        ("/t/" + "a" * 40, "/t/{id}"),
        ("/search/what is this", "/search/{id}"),
        ("/AKIAIOSFODNN7EXAMPLE", "/{id}"),
    ],
)
def test_collapse(path: str, name: str) -> None:
    assert collapse(path) == name


@given(st.text())
def test_collapse_keeps_the_shape(path: str) -> None:
    name = collapse(path)
    assert collapse(name) == name
    assert name.count("/") == path.count("/")


@given(st.lists(st.text()))
def test_names_are_bounded(paths: list[str]) -> None:
    routes = Routes(limit=3)
    names = {routes.name(path) for path in paths}
    assert len(names - {OTHER}) <= 3


@pytest.mark.parametrize("times", [1, 2])
def test_a_scanner_does_not_push_the_apps_routes_out(times: int) -> None:
    routes = Routes()
    words = [a + b + c for a in "bdfgk" for b in "aeiou" for c in ("st", "nd", "rt", "ll", "mp")]
    for word in words[:125]:
        for _ in range(times):
            routes.name(f"/{word}/admin.php")
            routes.name(f"/{word}/login.php")
    own = [f"/shop/{word}" for word in words[:20]]
    for _ in range(30):
        names = [routes.name(path) for path in own]
    assert names == own


@given(st.lists(st.text(), max_size=50), st.integers(1, 5))
def test_what_waits_to_become_known_is_bounded(paths: list[str], times: int) -> None:
    routes = Routes(limit=2)
    for path in paths * times:
        routes.name(path)
    assert len(routes._seen) <= MAX_SEEN + 1


def test_fill() -> None:
    assert fill("/a/1/b/1", {"x": 1}) == "/a/{x}/b/1"
    assert fill("/files/a/b", {"path": "a/b"}) == "/files/{path}"
    assert fill("/a", {"empty": ""}) == "/a"
