from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import debian

ROOT = Path(__file__).parent.parent
NOWHERE = "seism-no-such-package"


def run(folder: Path, package: str, ci: str) -> str:
    """The output of pytest on one test that needs ``package``."""
    (folder / "conftest.py").write_text("from tests.debian import *\n")
    (folder / "test_it.py").write_text(
        f"import pytest\n@pytest.mark.debian({package!r})\ndef test_it():\n    pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rA", "--strict-markers", "-p", "no:cacheprovider"],
        cwd=folder,
        env={**os.environ, "CI": ci, "PYTHONPATH": str(ROOT), "COLUMNS": "300"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout


def test_without_its_server_a_test_is_skipped_with_the_install_line(tmp_path: Path) -> None:
    output = run(tmp_path, NOWHERE, ci="")
    assert "1 skipped" in output
    assert f"apt-get install -y --no-install-recommends {NOWHERE}" in output


def test_under_ci_that_is_a_failure(tmp_path: Path) -> None:
    output = run(tmp_path, NOWHERE, ci="true")
    assert "1 error" in output or "1 failed" in output
    assert f"apt-get install -y --no-install-recommends {NOWHERE}" in output


@pytest.mark.skipif(bool(debian.missing(["dpkg"])), reason="not a Debian system")
def test_with_its_server_a_test_runs(tmp_path: Path) -> None:
    assert "1 passed" in run(tmp_path, "dpkg", ci="true")


def test_declarations_are_found_without_running_the_tests() -> None:
    source = '@pytest.mark.debian("slapd", "ldap-utils")\ndef test_it(): raise SystemExit\n'
    assert debian.declared(source) == {"slapd", "ldap-utils"}
    assert debian.declared("import pytest\npytest.mark.skip('x')") == set()
    constant = "SERVERS = ('slapd',)\npytestmark = pytest.mark.debian(*SERVERS)"
    assert debian.declared(constant) == {"slapd"}


@pytest.mark.parametrize("argument", ["PACKAGE", "*PACKAGES"])
def test_a_name_that_cannot_be_read_beforehand_is_refused(argument: str) -> None:
    with pytest.raises(ValueError, match="expected literal names"):
        debian.declared(f"pytestmark = pytest.mark.debian({argument})")


def test_every_declaration_of_the_suite_can_be_read() -> None:
    found = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        if path.name != "test_debian.py":
            found |= debian.declared(path.read_text(encoding="utf-8"))
    assert {"chromium", "slapd", "mariadb-server-core"} <= found


def test_where_it_may_not_install_it_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "test_it.py").write_text(f"@pytest.mark.debian({NOWHERE!r})\ndef test_it(): ...\n")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    debian.main(tmp_path)
    assert capfd.readouterr() == ("", "")


def test_where_it_may_it_asks_apt_and_says_what_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """With an apt-get of our own: the real one would change the machine."""
    log = tmp_path / "log"
    apt = tmp_path / "apt-get"
    apt.write_text(f'#!/bin/sh\necho "$@" >> {log}\n[ "$1" = update ]\n')
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    (tmp_path / "test_it.py").write_text(f"@pytest.mark.debian({NOWHERE!r})\ndef test_it(): ...\n")
    debian.main(tmp_path)
    install = f"install -y --no-install-recommends {NOWHERE}"
    assert log.read_text().splitlines() == [install, "update", install]
    assert capfd.readouterr().err == f"could not install {NOWHERE}\n"
