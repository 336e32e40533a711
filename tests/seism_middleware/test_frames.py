"""Where an exception came from: files, lines and functions, and nothing else."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy

from seism_middleware.frames import LONGEST, MOST, frames, shown
from seism_middleware.logs import logged_error
from tests.ports import free_port


def deep(levels: int, secret: str = "s3cret") -> None:
    if levels:
        deep(levels - 1)
    raise ValueError(secret)


def raised(levels: int) -> ValueError:
    try:
        deep(levels)
    except ValueError as error:
        return error
    raise AssertionError


def test_files_lines_and_functions_without_values() -> None:
    error = raised(1)
    found = frames(error.__traceback__)
    assert [each.rpartition(" ")[2] for each in found] == ["raised", "deep", "deep"]
    path = os.path.relpath(__file__)
    line = deep.__code__.co_firstlineno
    assert found[1:] == (f"{path}:{line + 2} deep", f"{path}:{line + 3} deep")
    assert "s3cret" not in json.dumps(found)


def test_a_deep_one_keeps_its_ends() -> None:
    found = frames(raised(50).__traceback__)
    assert len(found) == MOST
    assert found[0].endswith(" raised")
    assert found[-1].startswith(f"{os.path.relpath(__file__)}:")


def checkout(call: Callable[[], object]) -> None:
    """The app's own code, below which a library stands."""
    call()


def test_the_apps_own_line_is_kept_above_a_library() -> None:
    """SQLAlchemy puts more than ten frames between the app and the driver."""
    engine = sqlalchemy.create_engine(f"postgresql+pg8000://u:p@127.0.0.1:{free_port()}/d")
    with pytest.raises(sqlalchemy.exc.SQLAlchemyError) as raised:
        checkout(engine.connect)
    found = frames(raised.value.__traceback__)
    assert len(found) == MOST
    (own,) = (frame for frame in found if frame.endswith(" checkout"))
    assert own.startswith(os.path.relpath(__file__))
    assert found[-1].startswith("site-packages/pg8000/")


def test_none() -> None:
    assert frames(None) == ()


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("{cwd}/shop/views.py", "shop/views.py"),
        (
            "{cwd}/.venv/lib/python3.11/site-packages/redis/client.py",
            "site-packages/redis/client.py",
        ),
        ("/usr/lib/python3/dist-packages/yaml/__init__.py", "dist-packages/yaml/__init__.py"),
        ("/usr/lib/python3.11/socket.py", ".../python3.11/socket.py"),
        ("/home2/somebody/secret/project/app.py", ".../project/app.py"),
        ("<string>", "<string>"),
        ("<generated for " + "x" * 300, "<generated for " + "x" * (LONGEST - 15)),
        ("{cwd}/" + "x" * 300 + ".py", "x" * (LONGEST - 3) + ".py"),
    ],
)
def test_paths_tell_nothing_of_the_machine(path: str, told: str) -> None:
    assert shown(path.format(cwd=Path.cwd())) == told


def record(exc_info: bool) -> logging.LogRecord:
    info = None
    if exc_info:
        error = raised(0)
        info = (type(error), error, error.__traceback__)
    return logging.LogRecord("app", logging.ERROR, __file__, 7, "failed", None, info, "view")


def test_a_logged_error_has_those_of_its_exception_or_its_own() -> None:
    path = os.path.relpath(__file__)
    assert logged_error(record(False)).frames == (f"{path}:7 view",)
    assert logged_error(record(True)).frames[-1] == (
        f"{path}:{deep.__code__.co_firstlineno + 3} deep"
    )
    assert sys.exc_info() == (None, None, None)
