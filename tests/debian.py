"""Servers that only Debian has: tests declare them, ``make test`` installs them.

    @pytest.mark.debian("redis-server")
    def test_something(): ...

As a program it installs, as root, the packages that the tests declare and the machine lacks. As a
plugin (``tests/conftest.py``) it skips a test whose packages are missing, saying how to
install them; with ``CI=true`` such a test fails, so that a green run has run everything.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

INSTALL = ("apt-get", "install", "-y", "--no-install-recommends")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers", "debian(*packages): needs these Debian packages, which make test installs"
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, or under CI fail, what this machine cannot run."""
    wanted = [package for mark in item.iter_markers("debian") for package in mark.args]
    lacking = missing(wanted)
    if lacking:
        unable(f"missing Debian packages: {' '.join((*INSTALL, *lacking))}")


def unable(reason: str) -> NoReturn:
    """Skip the test that runs, or under CI fail it: this machine lacks what it needs."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason} (a failure, because CI=true)", pytrace=False)
    pytest.skip(reason)


def missing(packages: list[str]) -> list[str]:
    """Those of ``packages`` that are not installed."""
    return [package for package in packages if not _installed(package)]


def _installed(package: str) -> bool:
    if shutil.which("dpkg-query") is None:
        return False
    query = ["dpkg-query", "--show", "--showformat=${db:Status-Status}", package]
    done = subprocess.run(query, capture_output=True, text=True, check=False)
    return done.returncode == 0 and done.stdout == "installed"


def declared(source: str) -> set[str]:
    """The packages that a test module's markers name, as literals or by a constant of the module.

    Raises ValueError for any other name: what it names could not be installed beforehand.
    """
    tree = ast.parse(source)
    constants = {
        ast.unparse(node.targets[0]): node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.debian":
            for argument in node.args:
                inner = argument.value if isinstance(argument, ast.Starred) else argument
                inner = constants.get(ast.unparse(inner), inner)
                try:
                    value = ast.literal_eval(inner)
                except ValueError:
                    raise ValueError(f"{ast.unparse(node)}: expected literal names") from None
                found |= {value} if isinstance(value, str) else set(value)
    return found


def main(folder: Path) -> None:
    """Install what the tests in ``folder`` declare; a failure is left to them to report."""
    wanted: set[str] = set()
    for path in folder.rglob("test_*.py"):
        wanted |= declared(path.read_text(encoding="utf-8"))
    lacking = missing(sorted(wanted))
    if not lacking or os.geteuid() != 0 or shutil.which("apt-get") is None:
        return
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in ((*INSTALL, *lacking), ("apt-get", "update"), (*INSTALL, *lacking)):
        done = subprocess.run(command, env=environment, capture_output=True, check=False)
        if done.returncode == 0 and "install" in command:
            print(f"installed {' '.join(lacking)}")
            return
    print(f"could not install {' '.join(lacking)}", file=sys.stderr)


if __name__ == "__main__":
    main(Path(__file__).parent)
