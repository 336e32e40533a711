"""``seism new``: what it asks, what it refuses, and that all it makes is in good style."""

from __future__ import annotations

import itertools
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from seism.demo.scaffold import TEMPLATES, Answers, make
from seism.errors import ConfigurationError
from seism.experiment.config import load
from tests.processes import ROOT, until
from tests.templates.conftest import environ, run

SEISM = (sys.executable, "-m", "seism", "new")
COMBINATIONS = list(
    itertools.product(
        ("pyramid", "flask", "fastapi", "django"),
        ("postgresql", "mysql"),
        ("redis", "memcached", "none"),
    )
)


@pytest.mark.parametrize("name", ["a", "z" * 12 + "-" + "y" * 12 + "_" + "x" * 14])
def test_every_combination_is_in_good_style(name: str, tmp_path: Path) -> None:
    """Whatever the length of its name, and whatever comes first in the alphabet."""
    for template, database, cache in COMBINATIONS:
        make(Answers(name, template, database, cache), tmp_path / f"{template}-{database}-{cache}")
    run(tmp_path, sys.executable, "-m", "ruff", "check", "--no-cache", ".")
    run(tmp_path, sys.executable, "-m", "ruff", "format", "--check", "--no-cache", ".")
    texts = {
        path: path.read_text(encoding="utf-8") for path in tmp_path.rglob("*") if path.is_file()
    }
    for path, text in texts.items():
        for left in ("{{", "{%", "XXX", "TODO", "Undefined"):
            assert left not in text, path
        assert "\n\n\n\n" not in text, path
        assert text == "" or text.endswith("\n"), path
        assert not text.endswith("\n\n"), path
        if path.suffix == ".toml" or path.name in ("Makefile", "Jenkinsfile", "app.ini"):
            assert "\n\n\n" not in text, path


@pytest.mark.parametrize("cache", ["redis", "memcached", "none"])
def test_every_experiment_is_one(cache: str, tmp_path: Path) -> None:
    make(Answers("shop", "flask", "mysql", cache), tmp_path / "shop")
    environment = {"DATABASE_LOGIN": "a:b@", "DATABASE_PATH": "/c", "DATABASE_ADDRESS": "[::1]:2"}
    environment["CACHE_ADDRESS"] = "127.0.0.1:1"
    environment |= {"CACHE_LOGIN": "", "CACHE_PATH": "/0"}
    experiment = load(tmp_path / "shop" / "seism.toml", environment)
    backends = ["database"] if cache == "none" else ["database", "cache"]
    assert [backend.name for backend in experiment.backend] == backends
    assert {step.name for step in experiment.planned()} == {
        f"{backend} {kind}" for backend in backends for kind in ("slow", "hangs", "reset", "down")
    }
    assert experiment.app is not None
    assert experiment.app.env["DATABASE_URL"] == "mysql://a:b@{database.address}/c"


def new(folder: Path, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    return run(folder, "env", f"PYTHONPATH={ROOT}", *SEISM, *words, code=code)


def test_without_a_terminal_the_defaults_are_taken(tmp_path: Path) -> None:
    done = new(tmp_path, "sub/my-shop")
    assert "pyramid, postgresql, redis" in done.stdout
    assert "cd sub/my-shop" in done.stdout
    assert "make build test" in done.stdout
    assert (tmp_path / "sub" / "my-shop" / "my_shop" / "web.py").is_file()


def test_on_a_terminal_it_asks(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*SEISM, "shop", "--database", "mysql"], cwd=tmp_path, stdin=theirs, stdout=theirs,
        stderr=theirs, env={**environ(), "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    os.close(theirs)
    said = b""
    try:
        for question, answer in ((b"The framework", b"cobol\nflask\n"), (b"The cache", b"\n")):
            while question not in said:
                said += os.read(ours, 4096)
            os.write(ours, answer)
        until(lambda: process.poll() is not None)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert process.returncode == 0
    assert b"The database" not in said
    written = (tmp_path / "shop" / ".copier-answers.yml").read_text()
    assert 'template: "flask"' in written
    assert 'database: "mysql"' in written
    assert 'cache: "redis"' in written


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["Shop"], "'Shop' is not allowed"),
        (["json"], "'json' is the name of another module"),
        (["flask"], "'flask' is the name of another module"),
        (["class"], "'class' is the name of another module"),
        (["x" * 41], "at most 40"),
        (["full"], "full: it is there already; nothing was written"),
        (["a-file"], "a-file: it is there already; nothing was written"),
        (["a-file/shop"], "a-file/shop: Not a directory"),
    ],
)
def test_what_it_refuses_is_one_line(tmp_path: Path, words: list[str], said: str) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "a-file").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    done = new(tmp_path, *words, code=2)
    (line,) = done.stderr.splitlines()
    assert line.startswith("seism: ")
    assert said in line
    assert sorted(tmp_path.rglob("*")) == before


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    new(tmp_path, "shop")
    assert (tmp_path / "shop" / "app.ini").is_file()


def test_an_unknown_template_is_named(tmp_path: Path) -> None:
    assert "'cobol' is not one of" in new(tmp_path, "shop", "--template", "cobol", code=2).stderr


def test_where_the_templates_are(tmp_path: Path) -> None:
    assert Path(new(tmp_path, "--templates").stdout.strip()) == TEMPLATES
    assert (TEMPLATES / "copier.yml").is_file()


def test_the_name_is_checked_without_the_command_line() -> None:
    with pytest.raises(ConfigurationError):
        Answers("tests")
