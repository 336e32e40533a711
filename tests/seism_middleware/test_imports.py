"""A module is told of when it has been executed, and looks as if nobody had been there."""

from __future__ import annotations

import importlib
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from seism_middleware.imports import Imports
from tests.processes import ROOT


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "imports_good.py").write_text("value = 1\n")
    (tmp_path / "imports_bad.py").write_text("raise ValueError('of its own')\n")
    yield tmp_path
    for name in ("imports_good", "imports_bad"):
        sys.modules.pop(name, None)


def test_each_is_told_once_and_has_its_own_loader(folder: Path) -> None:
    told: list[tuple[str, int]] = []
    names = ("imports_good", "imports_bad", "imports_none")
    before = list(sys.meta_path)
    imports = Imports(names, lambda name: told.append((name, sys.modules[name].value)))
    imports.install()
    imports.install()
    try:
        good = importlib.import_module("imports_good")
        importlib.import_module("imports_good")
        with pytest.raises(ValueError, match="of its own"):
            importlib.import_module("imports_bad")
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module("imports_none")
    finally:
        imports.uninstall()
        imports.uninstall()
    assert told == [("imports_good", 1)]
    assert good.__spec__ is not None and good.__loader__ is good.__spec__.loader
    assert type(good.__loader__).__name__ == "SourceFileLoader"
    assert "imports_bad" not in sys.modules
    assert sys.meta_path == before


def test_a_driver_is_patched_before_its_first_use() -> None:
    """The app imports it in a request, of which many run at once."""
    script = """
        import sys
        from seism_middleware.ledger import Ledger
        from seism_middleware.patches import Patches

        finders = list(sys.meta_path)
        patches = Patches(Ledger())
        patches.install()
        assert "sys.meta_path" in patches.names
        import psycopg
        assert "psycopg.Connection.wait" in patches.names
        assert psycopg.Connection.wait.__wrapped__
        assert patches.follow() and not patches.follow()
        patches.uninstall()
        assert sys.meta_path == finders
        assert not hasattr(psycopg.Connection.wait, "__wrapped__")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
