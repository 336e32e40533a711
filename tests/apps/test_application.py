"""The tables of real applications and their comparison; the applications run in ``make apps``."""

from __future__ import annotations

from typing import Any

import pytest

from tests.apps.application import Comparison, compare, edit, load, names, parse, table


@pytest.mark.parametrize("name", names())
def test_each_file_is_right(name: str) -> None:
    app = load(name)
    assert app.title and app.command and (app.packages or app.npm)


TEXT = """
title = "Shop 1"
packages = ["shop==1"]
command = "shop"
[[edit]]
line = 'path = "/"'
becomes = ['path = "/cart"', 'method = "POST"']
[[defect]]
route = ["GET /cart"]
perturbation = ["db *"]
says = "500"
[services]
MAIL = "mail --port $MAIL"
"""


def test_edited_lines_are_counted_and_bounded() -> None:
    app = parse("shop", TEXT)
    assert app.edited == 2 and app.services == (("MAIL", "mail --port $MAIL"),)
    assert edit('a\npath = "/"\npath = "/"\n', app.edits) == (
        'a\npath = "/cart"\nmethod = "POST"\npath = "/"\n'
    )
    with pytest.raises(ValueError, match="no line"):
        edit("a\n", app.edits)
    with pytest.raises(ValueError, match=r"6 edited lines \(maximum 5\)"):
        parse("shop", TEXT.replace("['path", "['a', 'b', 'c', 'd', 'path"))
    with pytest.raises(ValueError, match="unknown keys"):
        parse("shop", "colour = 1\n" + TEXT)


def cell(route: str, perturbation: str, colour: str, *reasons: str) -> dict[str, Any]:
    return {
        "route": route, "perturbation": perturbation, "colour": colour, "reasons": list(reasons),
    }  # fmt: skip


def test_found_missed_and_further() -> None:
    defects = parse("shop", TEXT).defects
    red = cell("GET /cart", "db down", "red", "answered 500")
    other = cell("GET /", "db down", "red", "no response")
    assert compare(defects, {"cells": [red]}) == Comparison((str(defects[0]),), (), ())
    # A cell in which the defect should show is not a further one, whatever it says.
    silent = cell("GET /cart", "db slow", "red", "no response")
    assert compare(defects, {"cells": [silent]}) == Comparison((), (str(defects[0]),), ())
    assert compare(defects, {"cells": [red, other]}).further == (
        "GET / under db down: no response",
    )
    green = cell("GET /cart", "db down", "green")
    assert compare(defects, {"cells": [green]}).missed == (str(defects[0]),)


def test_the_table() -> None:
    row = {
        "title": "Shop 1", "found": ["a"], "missed": ["GET / under db down: 500"], "further": [],
        "edited": 2, "init_s": 3.2, "run_s": 100.7, "commit": "abc",
    }  # fmt: skip
    assert table({"shop": row}).splitlines()[-1] == (
        "| Shop 1 | 1 of 2 | GET / under db down: 500 | 0 | 2 | 3 s | 101 s | abc |"
    )
