from __future__ import annotations

from pathlib import Path

import pytest

from tests import npm

NPM = "#!/bin/sh\necho 'npm error 404 Not Found' >&2\nexit 1\n"


@pytest.fixture
def nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with nothing on it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CI", raising=False)
    return tmp_path


def test_without_npm_a_test_is_skipped_with_the_install_line(nothing: Path) -> None:
    with pytest.raises(pytest.skip.Exception, match=r"apt-get install .* nodejs npm"):
        npm.install(nothing, "x@1")


def test_under_ci_that_is_a_failure(nothing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=r"apt-get install .* nodejs npm"):
        npm.install(nothing, "x@1")


def test_what_npm_cannot_install_is_named(nothing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an npm of our own, as asking the real one for nonsense is of no use to anybody."""
    for name in ("npm", "node"):
        (nothing / name).write_text(NPM)
        (nothing / name).chmod(0o755)
    with pytest.raises(pytest.skip.Exception, match="npm install x@1: npm error 404"):
        npm.install(nothing, "x@1")
