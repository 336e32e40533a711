"""The pipeline examples: what they run turns a build red, with the cause in the JUnit file."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
import tomllib
from pathlib import Path

import pytest
import yaml
from junitparser import Failure, JUnitXml

from seism.demo.backends import Backends
from tests.processes import ROOT
from tests.test_cli import MARK, Seism

CI = ROOT / "templates" / "ci"
PIPELINES = {"Jenkinsfile": "Jenkinsfile", "github-actions.yml": ".github/workflows/seism.yml"}
"""Template -> where a repository has it."""
SECONDS = 300
"""From clone to red."""


def jenkins(file: Path = CI / "Jenkinsfile") -> list[str]:
    return re.findall(r"sh '(.*)'", file.read_text(encoding="utf-8"))


def github(file: Path = CI / "github-actions.yml") -> list[str]:
    steps = yaml.safe_load(file.read_text(encoding="utf-8"))["jobs"]["seism"]["steps"]
    return [step["run"] for step in steps if "run" in step]


def gitlab() -> list[str]:
    script: list[str] = yaml.safe_load((CI / "gitlab-ci.yml").read_text())["seism"]["script"]
    return script


def test_all_run_the_same() -> None:
    assert jenkins() == github() == gitlab()
    assert len(jenkins()) == 3


def sh(command: str | list[str], folder: Path, env: dict[str, str], seconds: float) -> int:
    """The exit code; what it says goes to ``out.log`` beside ``folder``."""
    argv = ["/bin/sh", "-e", "-c", command] if isinstance(command, str) else command
    with (folder.parent / "out.log").open("ab") as log:
        return subprocess.run(
            argv, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            timeout=seconds, check=False,
        ).returncode  # fmt: skip


def repository(folder: Path, env: dict[str, str]) -> None:
    """A team's own: the example app, one seism.toml, and the two pipelines."""
    ignored = shutil.ignore_patterns("planted.toml", "sweep.toml", "__pycache__")
    shutil.copytree(ROOT / "seism" / "demo" / "wsgi", folder, ignore=ignored)
    for template, name in PIPELINES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CI / template, folder / name)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    needs = ("pyramid", "waitress", "pg8000", "redis", "setuptools")
    (folder / "requirements.txt").write_text(
        "".join(f"{line}\n" for line in extras["demo"] if line.startswith(needs))
    )
    me = ["-c", "user.name=team", "-c", "user.email=team@example.org"]
    for words in (["init", "-q"], ["add", "-A"], [*me, "commit", "-q", "-m", "The shop"]):
        assert sh(["git", *words], folder, env, 30) == 0


@pytest.mark.timeout(SECONDS + 240)
def test_a_fresh_team_from_clone_to_red(tmp_path: Path, wheels: list[Path]) -> None:
    """Nothing of this checkout but its wheels: the pipelines' own steps, as they are written."""
    ours = ("SEISM", "PYTHON", "PYTEST", "MAKE", "CACHE", "DATABASE", "VIRTUAL_ENV")
    env = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    released = tmp_path / "constraints.txt"
    names = {"seism": "seism", "seism_middleware": "seism-middleware"}
    released.write_text(
        "".join(f"{names[file.name.split('-')[0]]} @ {file.as_uri()}\n" for file in wheels)
    )
    repository(tmp_path / "repository", env)
    with Backends() as backends:
        seism = Seism(tmp_path, "")  # knows what is left running
        env |= {f"DEMO_{name.upper()}": at for name, at in backends.addresses.items()}
        env |= {"PIP_CONSTRAINT": str(released), "GITHUB_ACTIONS": "true", MARK: seism.mark}
        env["GITHUB_STEP_SUMMARY"] = str(tmp_path / "summary.md")
        end = time.monotonic() + SECONDS
        clone = tmp_path / "clone"
        assert sh(["git", "clone", "-q", ".", str(clone)], tmp_path / "repository", env, 30) == 0
        steps = jenkins(clone / "Jenkinsfile")
        assert steps == github(clone / ".github" / "workflows" / "seism.yml")
        codes = [sh(step, clone, env, end - time.monotonic()) for step in steps]
        said = (tmp_path / "out.log").read_text()
        assert codes == [0, 0, 1], said
        assert seism.left() == []
    assert (clone / ".venv" / "bin" / "seism").exists()
    causes = {
        case.name: case.result[0].text
        for suite in JUnitXml.fromfile(str(clone / "seism-report" / "junit.xml"))
        for case in suite
        if case.result and isinstance(case.result[0], Failure)
    }
    assert "hit by p" in causes["GET /stock"]
    assert "evidence: ledger" in causes["GET /stock"]
    assert re.search("^::error .*GET /stock answers 500 when cache", said, re.M)
    assert "GET /stock under cache reset" in (tmp_path / "summary.md").read_text()
