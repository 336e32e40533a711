"""Both distributions as a release would have them, built from this checkout."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from tests.processes import ROOT

MIDDLEWARE = Path("packaging") / "seism-middleware"
NAMES = ("seism", "seism_middleware")
BUILD_SECONDS = 180

_SDIST = "from setuptools.build_meta import build_sdist; import sys; build_sdist(sys.argv[1])"


def _run(*argv: str | Path, folder: Path) -> None:
    """Raises CalledProcessError, after the output is shown."""
    done = subprocess.run(
        [str(word) for word in argv],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
    )
    if done.returncode:
        print(done.stdout)
        done.check_returncode()


def checkout(folder: Path) -> Path:
    """A copy of what the builds read, since a build writes into its source."""
    source = folder / "source"
    ignored = shutil.ignore_patterns("__pycache__", "*.so", "_pump.c", "*.egg-info", "build")
    source.mkdir()
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in (*NAMES, "templates", "packaging"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=ignored)
    return source


def build_wheel(
    source: Path, wheels: Path, python: Path | str = sys.executable, *options: str
) -> Path:
    """The wheel of a source tree or sdist, in the folder ``wheels``; ``options`` are pip's."""
    wheels.mkdir(exist_ok=True)
    before = set(wheels.glob("*.whl"))
    pip = (python, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", *options)
    _run(*pip, "--no-deps", "-w", wheels, source, folder=wheels)
    (made,) = set(wheels.glob("*.whl")) - before
    return made


def build_sdist(source: Path, folder: Path, python: Path | str) -> Path:
    """The sdist of a source tree; ``python`` has the packages that the build requires."""
    folder.mkdir(exist_ok=True)
    before = set(folder.glob("*.tar.gz"))
    _run(python, "-c", _SDIST, folder, folder=source)
    (made,) = set(folder.glob("*.tar.gz")) - before
    return made


def members(sdist: Path) -> dict[str, tarfile.TarInfo]:
    """Path below the top folder -> the member, of each file."""
    with tarfile.open(sdist) as archive:
        return {
            item.name.partition("/")[2]: item for item in archive.getmembers() if not item.isdir()
        }


def released(folder: Path) -> None:
    """Put the wheels of both in ``folder / "wheels"``, as ``pip install`` takes them."""
    source = checkout(folder)
    for tree in (source, source / MIDDLEWARE):
        build_wheel(tree, folder / "wheels")
    shutil.rmtree(source)


def environment(venv: Path, wheels: list[Path]) -> None:
    """Make a virtual environment, and install ``wheels`` with what they depend on."""
    _run(sys.executable, "-m", "venv", venv, folder=venv.parent)
    pip = (venv / "bin" / "python", "-m", "pip", "install", "--disable-pip-version-check")
    _run(*pip, "--quiet", *wheels, folder=venv.parent)
