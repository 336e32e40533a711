"""Commands under which Python ignores its environment are refused; others are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from seism.errors import ConfigurationError
from seism.experiment import inject


@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("python3 -E app.py", "E"),
        ("/usr/bin/python3.12 -u -I -m gunicorn", "I"),
        ("python -sE app.py", "E"),
        ("python -X dev -S app.py", "S"),
        ("env -i A=1 python -Ic pass", "I"),
    ],
)
def test_what_python_would_ignore(command: str, option: str) -> None:
    words = command.split()
    with pytest.raises(ConfigurationError, match=f"here: Python's -{option} ignores .* leave out"):
        inject.check(words, words[0], "here")


@pytest.mark.parametrize(
    "command",
    [
        "python -m gunicorn -E app:app",
        "python -c -I",
        "python app.py -E",
        "gunicorn -E x app:app",
        "python -W error -X utf8 -u app.py",
        "sh -c python",
        "python",
    ],
)
def test_what_it_would_not(command: str) -> None:
    words = command.split()
    inject.check(words, words[0], "here")


def test_the_first_line_of_a_script_counts(tmp_path: Path) -> None:
    script = tmp_path / "serve"
    for line, refused in (
        ("#!/usr/bin/python3 -sE", True), ("#!/usr/bin/env -S python3 -I", True),
        ("#!/usr/bin/python3", False), ("#!/bin/sh -e", False), ("import this", False),
    ):  # fmt: skip
        script.write_text(f"{line}\n")
        if refused:
            with pytest.raises(ConfigurationError):
                inject.check(["serve"], str(script), "here")
        else:
            inject.check(["serve"], str(script), "here")


def test_what_the_log_says() -> None:
    log = [
        "starting",
        "seism: inject: observing app.wsgi (wsgi) under gunicorn, process 7",
        "seism: inject: observing app.wsgi (wsgi) under gunicorn, process 8",
    ]
    assert inject.said(log) == ["observing app.wsgi (wsgi) under gunicorn"]
    assert "observing app.wsgi" in inject.told(log)
    assert "ignore its environment" in inject.told(["starting"])
