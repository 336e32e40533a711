from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seism_middleware.route import OTHER, Routes, collapse, fill


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


def test_fill() -> None:
    assert fill("/a/1/b/1", {"x": 1}) == "/a/{x}/b/1"
    assert fill("/files/a/b", {"path": "a/b"}) == "/files/{path}"
    assert fill("/a", {"empty": ""}) == "/a"
