"""Clients that exist as C extensions without a wheel: they need a compiler and headers.

They are not part of the extra ``test``, which would then fail to install where these lack.
``make test`` runs this as a program, after ``tests.debian``: it installs what can be built. A
test asks for one with ``module``, and is skipped where it is not, or fails with ``CI=true``.
"""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
from types import ModuleType

from tests.debian import missing, unable

NATIVE = {
    "MySQLdb": ("mysqlclient>=2.2", ("libmariadb-dev", "pkg-config", "gcc")),
    "ldap": ("python-ldap>=3.4", ("libldap2-dev", "libsasl2-dev", "gcc")),
}
"""Module -> what pip installs for it, and the Debian packages that building it needs."""


def module(name: str) -> ModuleType:
    """The module ``name``; the test that runs is skipped, or fails, without it."""
    if importlib.util.find_spec(name) is None:
        package, needs = NATIVE[name]
        unable(f"missing: pip install '{package}', which needs {' '.join(needs)}")
    return importlib.import_module(name)


def main() -> None:
    """Install what is missing and can be built; a failure is left to the tests to report."""
    for name, (package, needs) in NATIVE.items():
        if importlib.util.find_spec(name) is not None or missing(list(needs)):
            continue
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", "install"]
        if subprocess.run([*command, package], check=False).returncode == 0:
            print(f"installed {package}")


if __name__ == "__main__":
    main()
