"""The import rule and its neighbours, on the repository and on planted violations."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import structure
from tests.layout import LAYOUT, violations

ROOT = Path(__file__).parent.parent
SKIPPED = {".venv", ".tox", ".git", "build", "dist", "seism-report"}
TEXT = {".py", ".md", ".toml", ".ini", ".cfg", ".html", ".css", ".js", ".rst", ".txt", ".yml", ""}


def sources() -> list[Path]:
    """The text files of the repository, which need not be a git checkout."""
    return [
        path
        for path in sorted(ROOT.rglob("*"))
        if path.is_file()
        and path.suffix in TEXT
        and not any(
            part in SKIPPED or part.endswith(("_cache", ".egg-info", "__pycache__"))
            for part in path.relative_to(ROOT).parts
        )
        and path.relative_to(ROOT).parts[0] != ".hypothesis"
    ]


def test_the_repository_keeps_its_rules() -> None:
    found = sources()
    assert len(found) > 20
    broken = []
    for path in found:
        name = path.relative_to(ROOT).as_posix()
        if name != "tests/test_layout.py":
            broken += violations(name, path.read_text(encoding="utf-8"))
    assert broken == []


# Composed, so that this line itself names no path.
HOME = "/ro" + "ot/x"


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("seism/model.py", "from seism.proxy.link import Link"),
        ("seism/model.py", "import seism.verdict.result"),
        ("seism/model.py", "from seism import verdict"),
        ("seism/proxy/link.py", "def late():\n    from seism.sidecar.control import router"),
        ("seism/sidecar/hub.py", "from seism.report.html import render"),
        ("seism/experiment/runner.py", "from seism.sidecar.process import Sidecar"),
        ("seism/report/html.py", "import seism.demo.backends"),
        ("seism/errors.py", "import seism.options"),
        ("seism/__init__.py", "from seism.cli import main"),
        ("seism/proxy/link.py", "from . import dial"),
        ("seism/helpers.py", ""),
        ("seism/verdict/request.py", "from seism_middleware.observer import Observer"),
        ("seism/verdict/request.py", "import seism_middleware"),
        ("seism/proxy/link.py", "from gevent import monkey"),
        ("seism/proxy/link.py", "import gevent.monkey"),
        ("seism/proxy/link.py", "import gevent\ngevent.monkey.patch_all()"),
        ("seism/toxics/latency.py", "import time"),
        ("seism/toxics/latency.py", "from time import monotonic"),
        ("seism/toxics/latency.py", "import random"),
        ("seism/toxics/latency.py", "from seism.clock import Clock"),
        ("seism/protocols/http.py", "import gevent.socket"),
        ("seism/protocols/http.py", "def f():\n    import logging"),
        ("seism_middleware/wsgi.py", "import gevent"),
        ("seism_middleware/wsgi.py", "def f():\n    import gevent"),
        ("seism_middleware/wsgi.py", "from seism.errors import SeismError"),
        ("seism_middleware/metrics.py", "import statsd"),
        ("seism_middleware/signals.py", "from blinker import Signal"),
        ("seism_middleware/observer.py", "import os\nSIDECAR = os.environ.get('SEISM_SIDECAR')"),
        ("seism/experiment/config.py", "import os\ndef load(environ=os.environ): ..."),
        ("tests/proxy/test_link.py", "import time\ntime.sleep(2)"),
        ("tests/proxy/test_link.py", "import time\ntime.sleep(wait)"),
        ("tests/proxy/test_link.py", f"DATA = '{HOME}'"),
        ("README.md", f"see {HOME}"),
    ],
)
def test_each_rule_bites(path: str, source: str) -> None:
    assert violations(path, source) != []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("seism/proxy/link.py", "from seism.model import ProxySpec\nfrom seism.proxy import dial"),
        ("seism/options.py", "from seism.errors import ConfigurationError"),
        ("seism/report/html.py", "import seism\nfrom seism import verdict"),
        ("seism/cli.py", "import os\ndef f(): return os.environ['HOME']"),
        ("seism/clock.py", "from seism_middleware.wire import clock_domain"),
        ("seism/cli.py", "from gevent import monkey\nmonkey.patch_all()"),
        ("seism/demo/wsgi/example.py", "from seism_middleware.wsgi import Seism\nimport redis"),
        ("seism_middleware/metrics.py", "def f():\n    from statsd import StatsClient"),
        ("seism_middleware/signals.py", "try:\n    import blinker\nexcept ImportError:\n    pass"),
        ("seism_middleware/wsgi.py", "import socket, threading"),
        ("tests/proxy/test_link.py", "import time\ntime.sleep(0.01)"),
        ("tests/proxy/test_link.py", "import time\ntime.sleep(rng.uniform(0, 0.1))"),
        ("README.md", "answers on http://127.0.0.1/workers and writes /tmp/wanted"),
    ],
)
def test_what_is_allowed_is_left_alone(path: str, source: str) -> None:
    assert violations(path, source) == []


def test_every_member_has_one_place() -> None:
    assert len(LAYOUT) == len(set(LAYOUT))


ROOMS, ARROWS = 28, 125
"""The most rooms, and arrows between them, that a reader can hold in mind."""


def test_rooms_and_arrows_between_them_stay_few() -> None:
    house = structure.read()
    assert len(house.rooms) <= ROOMS
    assert len(house.room_arrows) <= ARROWS


def test_a_way_names_every_file_of_its_room() -> None:
    files = {name for name in structure.read().sources if name.startswith("seism.verdict.")}
    assert files == {f"seism.{name}" for name in structure.JUDGING} - {"seism.journal"}


def test_the_way_from_the_journal_to_the_judgement_is_downhill() -> None:
    assert structure.climbs(structure.read().arrows, structure.JUDGING) == []


def test_the_way_of_a_byte_through_an_armed_link_is_downhill() -> None:
    house = structure.read()
    assert {f"seism.{name}" for name in structure.RELAYING} <= set(house.sources)
    assert structure.climbs(house.arrows, structure.RELAYING[::-1]) == []


def test_no_circle_of_imports_touches_a_proxy() -> None:
    circles = structure.circles(structure.read().arrows)
    assert [circle for circle in circles if any(".proxy." in name for name in circle)] == []


def test_no_files_import_each_other_in_a_circle() -> None:
    assert structure.circles(structure.read().arrows) == []


def test_a_climb_and_a_circle_are_seen() -> None:
    arrows = frozenset({("seism.a", "seism.b"), ("seism.b", "seism.c"), ("seism.c", "seism.a")})
    assert structure.climbs(arrows, ("a", "b", "c")) == [
        ("seism.a", "seism.b"),
        ("seism.b", "seism.c"),
    ]
    assert structure.circles(arrows) == [["seism.a", "seism.b", "seism.c"]]
    assert structure.circles(arrows - {("seism.c", "seism.a")}) == []


def test_the_page_of_the_architecture_lists_the_members_in_their_order() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    _, _, after = page.partition(
        "A module imports from its own package or from what stands above it:"
    )
    listed = after.partition("`")[2].partition("`")[0]
    assert listed.replace("\n", " ").split(", ") == [m for m in LAYOUT if m != "__main__"]


def test_the_page_of_the_architecture_has_the_way_to_the_judgement() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    _, _, table = page.partition("The modules of `seism/verdict/`")
    rows = re.findall(r"^\| `(\w+)` \|", table.partition("\n## ")[0], re.MULTILINE)
    assert ["journal", *(f"verdict.{row}" for row in rows)] == list(structure.JUDGING)


def test_every_file_that_the_documents_name_exists() -> None:
    named = re.compile(r"`((?:seism|seism_middleware|tests|bench|docs|templates)/[\w./-]+)`")
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    missing = {
        f"{page.relative_to(ROOT)}: {name}"
        for page in pages
        if page.name not in ("CHANGELOG.md", "changelog.md")
        for name in named.findall(page.read_text(encoding="utf-8"))
        if not (ROOT / name).exists()
    }
    assert missing == set()


def test_the_middleware_really_imports_nothing_heavy() -> None:
    """What the rule says of the source holds in a process, too."""
    script = (
        "import importlib, pkgutil, sys\n"
        "before = set(sys.modules)\n"  # what the environment itself has imported
        "import seism_middleware as package\n"
        "for module in pkgutil.iter_modules(package.__path__, 'seism_middleware.'):\n"
        "    importlib.import_module(module.name)\n"
        "names = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(*sorted(names - set(sys.stdlib_module_names)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.split() == ["seism_middleware"]


def test_every_target_of_make_has_a_rule() -> None:
    """A name in .PHONY alone does nothing, successfully."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    (names,) = re.findall(r"^\.PHONY: (.+)$", text, re.MULTILINE)
    assert set(names.split()) == set(re.findall(r"^([a-z][a-z-]*):", text, re.MULTILINE))
