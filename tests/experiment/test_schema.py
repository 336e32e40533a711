"""The schema that editors get, held against what is really taken."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator

import seism.demo
from seism.cli import cli
from seism.experiment.schema import FILE, document
from tests.experiment.test_config import WHOLE
from tests.experiment.test_config import test_what_is_wrong_is_named as wrong

DEMO = Path(seism.demo.__file__).parent


@pytest.fixture
def validator() -> Draft202012Validator:
    shipped = json.loads(FILE.read_text(encoding="utf-8"))
    assert shipped == json.loads(json.dumps(document()))
    Draft202012Validator.check_schema(shipped)
    return Draft202012Validator(shipped)


@pytest.mark.parametrize("app", ["wsgi", "asgi"])
def test_the_example_apps_files_are_valid(validator: Draft202012Validator, app: str) -> None:
    validator.validate(tomllib.loads((DEMO / app / "seism.toml").read_text(encoding="utf-8")))


def test_a_whole_file_is_valid(validator: Draft202012Validator) -> None:
    validator.validate(tomllib.loads(WHOLE))


def cases() -> list[Any]:
    """What ``seism check`` refuses for its shape; names and addresses are no matter of a schema."""
    (mark,) = [mark for mark in wrong.pytestmark if mark.name == "parametrize"]  # type: ignore[attr-defined]
    shapes = ("unknown key", "missing required", "load.workers: 0", "load.workers: '4'")
    found = [case for case in mark.args[1] if any(shape in case[2] for shape in shapes)]
    return [case for case in found if "attributes" not in case[2]]


@pytest.mark.parametrize(("old", "new", "said"), cases())
def test_what_is_wrong_is_invalid(
    validator: Draft202012Validator, old: str, new: str, said: str
) -> None:
    assert said
    assert not validator.is_valid(tomllib.loads(WHOLE.replace(old, new, 1)))


def test_it_is_printed() -> None:
    assert CliRunner().invoke(cli, ["check", "--schema"]).output == FILE.read_text(encoding="utf-8")
