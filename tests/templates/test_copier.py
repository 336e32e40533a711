"""The templates are copier's: the same result, updates from tags, a new copy from the package."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from seism.demo.scaffold import ANSWERS_FILE, TEMPLATES, Answers, make
from seism.options import describe
from tests.processes import ROOT
from tests.templates.conftest import New, environ, run

COPIER = (sys.executable, "-m", "copier")
GIT = (
    "git", "-c", "user.name=Test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false",
    "-c", "init.defaultBranch=main",
)  # fmt: skip


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".git" not in path.relative_to(folder).parts
    }


def data(answers: Answers) -> list[str]:
    words = []
    for question in describe(Answers):
        words += ["--data", f"{question.name}={getattr(answers, question.name)}"]
    return words


def test_copier_asks_what_is_declared() -> None:
    values = yaml.safe_load((TEMPLATES / "copier.yml").read_text(encoding="utf-8"))
    asked = {
        key: value
        for key, value in values.items()
        if not key.startswith("_") and value.get("when") is not False
    }
    declared = {one.name: one for one in describe(Answers)}
    assert list(asked) == list(declared)
    for name, question in declared.items():
        assert asked[name]["help"] == question.option.help
        assert tuple(asked[name].get("choices", ())) == question.option.choices
        assert asked[name].get("default") == question.default


@pytest.mark.parametrize(
    "answers",
    [
        Answers("a-shop", "pyramid", "postgresql", "redis"),
        Answers("shop2", "flask", "mysql", "memcached"),
        Answers("my_shop", "fastapi", "postgresql", "none"),
        Answers("null", "django", "mysql", "redis"),
    ],
    ids=lambda answers: answers.template,
)
def test_seism_new_makes_what_copier_makes(answers: Answers, tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    written = make(answers, ours)
    run(tmp_path, *COPIER, "copy", "--defaults", *data(answers), TEMPLATES, theirs)
    expected = contents(theirs)
    assert len(expected) > 25
    assert contents(ours) == expected
    assert {path.as_posix() for path in written} == set(expected)


@pytest.mark.parametrize("name", ["", "9", "Shop", "a b", "a--b", "-a", "a.b", "x" * 41])
def test_copier_refuses_the_same_names(name: str, tmp_path: Path) -> None:
    done = run(
        tmp_path,
        *COPIER,
        "copy",
        "--defaults",
        "--data",
        f"name={name}",
        TEMPLATES,
        "out",
        code=None,
    )
    assert done.returncode != 0
    assert not (tmp_path / "out").exists() or not contents(tmp_path / "out")


def git(folder: Path, *words: str) -> None:
    run(folder, *GIT, *words)


def released(repository: Path, tag: str) -> None:
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", tag)
    git(repository, "tag", tag)


def test_an_update_from_a_tagged_repository_keeps_a_local_edit(tmp_path: Path) -> None:
    """The repository is laid out as Seism's is, whose copier.yml leads into templates/."""
    repository, project = tmp_path / "repository", tmp_path / "shop"
    shutil.copytree(ROOT / "templates", repository / "templates")
    shutil.copy(ROOT / "copier.yml", repository)
    git(repository, "init", "--quiet")
    released(repository, "v1.0.0")
    asked = data(Answers("shop", "flask"))
    run(tmp_path, *COPIER, "copy", "--defaults", *asked, f"git+file://{repository}", project)
    git(project, "init", "--quiet")
    items, failure = project / "shop" / "items.py", project / "shop" / "failure.py"
    edit(items, "NEWEST = 20", "NEWEST = 50")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "ours")

    for name in ("items", "failure"):
        source = repository / "templates" / "project" / "{{ package }}" / f"{name}.py.jinja"
        edit(source, "\nfrom __future__", "\n# Version two.\nfrom __future__")
    released(repository, "v2.0.0")
    run(project, *COPIER, "update", "--defaults")

    assert "# Version two." in failure.read_text(encoding="utf-8")
    assert "# Version two." in items.read_text(encoding="utf-8")
    assert "NEWEST = 50" in items.read_text(encoding="utf-8")
    answers = yaml.safe_load((project / ANSWERS_FILE).read_text(encoding="utf-8"))
    assert answers["_commit"] == "v2.0.0"
    assert not list(project.rglob("*.rej"))


@pytest.mark.timeout(400)  # it may have to wait until Seism is installed
def test_what_the_package_made_says_how_it_is_made_anew(
    new: New, installed: Path, tmp_path: Path
) -> None:
    """The command of the project's README, word by word, in the project's folder."""
    project = new("shop", "--template", "django", "--cache", "none")
    made = contents(project.folder)
    make(Answers("shop", "django", cache="none"), tmp_path / "source")
    here = contents(tmp_path / "source")  # nothing was lost on the way into the wheel
    assert {**made, ANSWERS_FILE: b""} == {**here, ANSWERS_FILE: b""}
    readme = (project.folder / "README.md").read_text(encoding="utf-8")
    (command,) = (
        line.strip().removesuffix(",").strip("`")
        for line in readme.split("`")
        if line.startswith("copier copy")
    )
    edit(project.package / "items.py", "NEWEST = 20", "NEWEST = 50")
    (project.folder / "own.txt").write_text("ours", encoding="utf-8")
    tools = f"{installed / 'bin'}:{Path(sys.executable).parent}"
    path = f"PATH={tools}:{environ()['PATH']}"
    run(project.folder, "env", path, "sh", "-c", command)
    assert contents(project.folder) == {**made, "own.txt": b"ours"}
    assert shlex.split(command)[:2] == ["copier", "copy"]


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
