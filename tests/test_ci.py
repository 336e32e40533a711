"""The pipeline examples: what they run turns a build red, with the cause in the JUnit file."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from junitparser import Failure, JUnitXml

from seism.demo.backends import Backends
from tests.processes import ROOT
from tests.test_cli import Seism

CI = ROOT / "templates" / "ci"


def jenkins() -> list[str]:
    return re.findall(r"sh '(.*)'", (CI / "Jenkinsfile").read_text(encoding="utf-8"))


def github() -> list[str]:
    steps = yaml.safe_load((CI / "github-actions.yml").read_text())["jobs"]["seism"]["steps"]
    return [step["run"] for step in steps if "run" in step]


def gitlab() -> list[str]:
    script: list[str] = yaml.safe_load((CI / "gitlab-ci.yml").read_text())["seism"]["script"]
    return script


def test_all_run_the_same() -> None:
    assert jenkins() == github() == gitlab()
    assert len(jenkins()) == 3


@pytest.mark.timeout(300)
def test_a_fresh_team_from_clone_to_red(tmp_path: Path) -> None:
    """The example app's repository, one seism.toml, the pipeline's own commands."""
    repository = tmp_path / "repository"
    ignored = shutil.ignore_patterns("planted.toml", "__pycache__")
    shutil.copytree(ROOT / "seism" / "demo" / "wsgi", repository, ignore=ignored)
    (repository / "requirements.txt").write_text("")
    venv, _install, run = jenkins()
    with Backends() as backends:
        seism = Seism(repository, "")
        seism.env |= {f"DEMO_{name.upper()}": at for name, at in backends.addresses.items()}
        seism.env |= {"PYTHONPATH": str(ROOT), "GITHUB_ACTIONS": "true"}
        seism.env["PATH"] = f"{Path(sys.executable).parent}:{seism.env['PATH']}"
        seism.env["GITHUB_STEP_SUMMARY"] = str(tmp_path / "summary.md")
        # The packages are those of this run: what an index has is no matter of this test.
        subprocess.run(
            [*venv.replace("python3", sys.executable).split(), "--system-site-packages"],
            cwd=repository, check=True, timeout=60,
        )  # fmt: skip
        site = next((repository / ".venv").glob("lib/python*/site-packages"))
        (site / "ours.pth").write_text("\n".join([str(ROOT), *sys.path[1:]]))
        (repository / ".venv" / "bin" / "seism").write_text(
            f"#!{repository}/.venv/bin/python\nfrom seism.cli import main\nmain()\n"
        )
        (repository / ".venv" / "bin" / "seism").chmod(0o755)
        done = subprocess.run(
            ["/bin/sh", "-c", run], cwd=repository, env=seism.env,
            capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip
        assert done.returncode == 1, done.stderr + done.stdout
        assert seism.left() == []
    failed = [
        (case.name, case.result[0].text)
        for suite in JUnitXml.fromfile(str(repository / "seism-report" / "junit.xml"))
        for case in suite
        if case.result and isinstance(case.result[0], Failure)
    ]
    causes = dict(failed)
    assert "hit by p" in causes["GET /stock"]
    assert "evidence: ledger" in causes["GET /stock"]
    assert re.search("^::error title=red%3A GET /stock under cache reset::500", done.stdout, re.M)
    assert "`GET /stock` under `cache reset`" in (tmp_path / "summary.md").read_text()
