from __future__ import annotations

import logging

import pytest
from webob import Request, Response

from seism.errors import Conflict
from seism.sidecar.control.router import Route, Router, answer, empty, read_json


def echo(request: Request, **parts: str) -> Response:
    return answer(parts, warnings=['say "x"\r\nSet-Cookie: y'])


def conflict(request: Request) -> Response:
    raise Conflict("there is one")


def bug(request: Request) -> Response:
    raise RuntimeError("secret detail")


def length(request: Request) -> Response:
    return answer(len(read_json(request)))


ROUTER = Router(
    [
        Route("GET", "/a/{one}/b/{two}", echo),
        Route("GET", "/conflict", conflict),
        Route("GET", "/bug", bug),
        Route("POST", "/length", length),
        Route("DELETE", "/length", lambda request: empty()),
    ]
)


def test_parts_of_the_path_become_arguments() -> None:
    response = Request.blank("/a/x%20%C3%A9/b/y").get_response(ROUTER)
    assert response.json == {"one": "x é", "two": "y"}


@pytest.mark.parametrize("path", ["/a/x/b/", "/a//b/y", "/a/x/b/y/z", "/", "/a/x/b/y/"])
def test_other_paths_are_not_found(path: str) -> None:
    assert Request.blank(path).get_response(ROUTER).status_int == 404


def test_a_wrong_method_says_which_are_right() -> None:
    response = Request.blank("/length").get_response(ROUTER)
    assert (response.status_int, response.headers["Allow"]) == (405, "DELETE, POST")


def test_errors_carry_their_status() -> None:
    response = Request.blank("/conflict").get_response(ROUTER)
    assert response.status_int == 409
    assert response.json == {"error": "there is one", "title": "there is one", "status": 409}


def test_a_bug_is_logged_and_not_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        response = Request.blank("/bug").get_response(ROUTER)
    assert response.status_int == 500
    assert "secret detail" not in response.text
    assert "secret detail" in caplog.text


def test_a_body_has_a_limit() -> None:
    request = Request.blank("/length", method="POST", body=b'"' + b"x" * 1024 * 1024 + b'"')
    assert request.get_response(ROUTER).status_int == 413


def test_a_warning_cannot_break_out_of_its_header() -> None:
    response = Request.blank("/a/x/b/y").get_response(ROUTER)
    assert response.headers["Warning"] == r'299 seism "say \"x\"??Set-Cookie: y"'


def test_empty_has_no_body_and_no_type() -> None:
    response = Request.blank("/length", method="DELETE").get_response(ROUTER)
    assert (response.status_int, response.body) == (204, b"")
    assert "Content-Type" not in response.headers
