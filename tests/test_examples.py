"""What the pages of the documentation show is what happens.

Each page is run from its top to its end, in a folder and with a sidecar of its own: commands in
a shell, Python in one namespace, files for real, experiments through the loader of
``seism run``. A block that is no example says why, in the comment above it::

    <!-- not run: it takes an hour -->
"""

from __future__ import annotations

import configparser
import contextlib
import doctest
import itertools
import json
import os
import re
import shlex
import socketserver
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from seism.cli import cli
from seism.client import Control
from seism.experiment.config import Experiment, load
from tests.databases import PostgreSQL
from tests.docs.pages import PAGES, Block, blocks, name
from tests.processes import ROOT, free_port, sidecar

RUN = {"console", "sh", "bash", "shell", "python", "pycon", "toml", "ini", "json", "yaml"}
CHECKED_BY = {
    "docs/control-api.md": "tests/test_control_api_page.py",
    "docs/templates.md": "tests/templates/test_generated.py",
    "docs/testing.md": "tests/test_examples.py",
    "docs/tutorial.md": "tests/test_tutorial.py",
    **{name(page): "tests/templates/test_guide.py" for page in PAGES if "/guide/" in str(page)},
    **{name(page): "tests/test_howto.py" for page in PAGES if "/howto/" in str(page)},
}
"""Pages whose examples have a test of their own."""
TABLES = {field.name for field in fields(Experiment)}
ENDLESS = ("seism tail",)
"""What runs until Ctrl-C; it gets one."""


class Example:
    """One page as it is run: its folder, its environment, its names."""

    def __init__(self, folder: Path, control: Control, page: Path, names: dict[str, Any]) -> None:
        self.folder = folder
        self._page = page
        self.names = names
        self.environment = {
            **os.environ,
            "SEISM_SIDECAR": f"{control.host}:{control.port}",
            "DATABASE": "127.0.0.1:5432",
            "PYTHONPATH": str(ROOT),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "NO_COLOR": "1",
            "COLUMNS": "80",
            "no_proxy": "127.0.0.1",
        }

    def run(self, block: Block) -> None:
        """Raises if what happens is not what the page says."""
        kept = re.match(r"# file: (\S+)\n", block.text)
        if kept:
            (self.folder / kept[1]).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / kept[1]).write_text(block.text, encoding="utf-8")
        if block.language == "console":
            seen = self._session(block.text)
            if all(line.startswith("$ ") for line in block.text.splitlines()):
                # Only typed: it has to work, whatever it says.
                assert not re.search(r"^\[\d+\]$", seen, re.MULTILINE), seen
            else:
                assert seen == block.text
        elif block.language in ("sh", "bash", "shell"):
            done = self._shell(block.text)
            assert done.returncode == 0, done.stdout + done.stderr
        elif block.language == "python":
            if kept:
                compile(block.text, kept[1], "exec")
            else:
                exec(compile("\n" * (block.line - 1) + block.text, self._page, "exec"), self.names)
        elif block.language == "json":
            json.loads(block.text)
        elif block.language == "ini":
            configparser.RawConfigParser().read_string(block.text)
        elif block.language == "toml":
            values = tomllib.loads(block.text)
            if set(values) <= TABLES:
                path = self.folder / "checked.toml"
                path.write_text(block.text + whatever_it_needs(values), encoding="utf-8")
                load(path, self.environment)

    def _session(self, text: str) -> str:
        """The output of the commands of ``text``, typed one by one; ``[2]`` is an exit code."""
        seen = ""
        for command in re.findall(r"^\$ (.*)$", text, re.MULTILINE):
            if command in ENDLESS:
                done = self._shell(f"timeout --signal=INT 2 {command} || test $? = 124")
            else:
                done = self._shell(command)
            code = f"[{done.returncode}]\n" if done.returncode else ""
            seen += f"$ {command}\n{done.stdout}{done.stderr}{code}"
        return seen

    def _shell(self, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-euc", command], cwd=self.folder, env=self.environment,
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip


def whatever_it_needs(values: dict[str, Any]) -> str:
    """The tables without which an excerpt of a seism.toml would be refused."""
    perturbed = [
        *values.get("perturbation", ()),
        *values.get("chaos", {}).get("mix", ()),
        *values.get("random", {}).get("mix", ()),
    ]
    named = {each["backend"] for each in perturbed}
    named -= {backend["name"] for backend in values.get("backend", ())}
    made = ""
    for each in sorted(named):
        if each == "front":
            made += '[front]\napp = "http://127.0.0.1:1"\n'
        else:
            made += f'[[backend]]\nname = "{each}"\nupstream = "127.0.0.1:1"\n'
    if "load" not in values:
        for route in sorted({each["route"] for each in perturbed if "route" in each}):
            method, _, path = route.partition(" ")
            made += f'[[load.route]]\nmethod = "{method}"\npath = "{path}"\n'
    return "\n" + made


def free(text: str) -> str:
    """``text`` with ports to listen on that are free here.

    They are as long as before, so that tables stay aligned: those that the kernel gives
    have five digits.
    """
    for listen in sorted(set(re.findall(r'listen ?= ?"?(127\.0\.0\.1:\d{5})\b', text))):
        port = listen
        while len(port) != len(listen) or port == listen:
            port = f"127.0.0.1:{free_port()}"
        text = text.replace(listen, port)
    return text


@contextlib.contextmanager
def names_of(page: str) -> Iterator[dict[str, Any]]:
    """What the Python of a page takes for granted."""
    if page == "docs/harm.md":
        import psycopg

        with (
            PostgreSQL() as server,
            psycopg.connect(
                host="127.0.0.1",
                port=server.port,
                user="seism",
                dbname="postgres",
                autocommit=True,
            ) as connection,
        ):
            connection.execute("CREATE TEMP TABLE items AS SELECT 7 AS id, 'bolt' AS name")
            yield {"connection": connection, "id": 7}
    elif page == "docs/experiments.md":
        from seism.client import Client

        yield {"Client": Client}
    else:
        yield {"pytest": pytest}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_examples_of(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = free(page.read_text(encoding="utf-8"))
    found = [each for each in blocks(text) if each.language in RUN and not each.not_run]
    if name(page) in CHECKED_BY or not found:
        return
    with names_of(name(page)) as names, sidecar(tmp_path / "journal.jsonl") as control:
        folder = tmp_path / "page"
        folder.mkdir()
        example = Example(folder, control, page, names)
        for variable, value in example.environment.items():
            monkeypatch.setenv(variable, value)
        for block in found:
            try:
                example.run(block)
            except Exception as error:
                error.add_note(f"{name(page)}:{block.line}")
                raise


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_doctests_of(page: Path) -> None:
    failed, _ = doctest.testfile(str(page), module_relative=False, encoding="utf-8")
    assert failed == 0


@pytest.mark.parametrize(("page", "test"), CHECKED_BY.items())
def test_a_page_with_a_test_of_its_own_has_one(page: str, test: str) -> None:
    assert (ROOT / page).exists()
    # It names the page, or the folder from which it takes its pages.
    source = (ROOT / test).read_text(encoding="utf-8")
    folder = Path(page).parent.name
    assert re.search(rf"\b{Path(page).stem if folder == 'docs' else folder}\b", source)


def commands(text: str) -> Iterator[list[str]]:
    """The words of each command in ``text`` that begins with make or seism."""
    for line in re.findall(r"^(?:\$ )?((?:make|seism) .*)$", text, re.MULTILINE):
        yield shlex.split(line, comments=True)


def test_what_is_not_run_could_be() -> None:
    """Targets of make and options of commands that are only shown are there all the same."""
    shown = [
        words
        for page in PAGES
        for each in blocks(page.read_text(encoding="utf-8"))
        if each.not_run
        for words in commands(each.text)
    ]
    assert len(shown) > 10
    for program, *words in shown:
        if program == "make":
            subprocess.run(
                ["make", "--dry-run", *words], cwd=ROOT, capture_output=True, timeout=60, check=True
            )
        else:
            known = {option for each in cli.commands[words[0]].params for option in each.opts}
            own = itertools.takewhile(lambda word: word != "--", words)  # then another's command
            assert {word for word in own if word.startswith("--")} <= known, words


def test_an_example_that_does_not_do_what_it_says_is_found(tmp_path: Path) -> None:
    (tmp_path / "page").mkdir()
    with sidecar(tmp_path / "journal.jsonl") as control:
        example = Example(tmp_path / "page", control, tmp_path / "page.md", {})
        for language, right, wrong in (
            ("console", "$ seism toxic list\nno toxics\n", "$ seism toxic list\n1 toxic\n"),
            ("console", "$ false\n[1]\n", "$ false\n"),
            ("console", "$ seism proxy list\n", "$ seism proxy lisp\n"),
            ("sh", "seism reset", "seism rest"),
            ("python", "assert True", "assert False"),
            ("json", "{}", "{"),
            ("ini", "[a]\nb = 1", "b = 1"),
            ("toml", "[rules]\ndeadline_ms = 5", "[rules]\ndeadline = 5"),
            ("toml", "[tool.x]\ny = 1", "[tool.x]\ny ="),
        ):
            example.run(Block(language, right, 1, ""))
            with pytest.raises(Exception, match=r"(?s).*"):
                example.run(Block(language, wrong, 1, ""))


def test_what_is_no_example_says_why() -> None:
    text = "<!-- not run: later -->\n```sh\nx\n```\n\n```sh\ny\n```\n\n- ```toml\n  z = 1\n  ```\n"
    assert [(each.text, each.not_run, each.line) for each in blocks(text)] == [
        ("x\n", "later", 3), ("y\n", "", 7), ("z = 1\n", "", 11),
    ]  # fmt: skip


# What the page leaves to its reader: a pool of connections that have a timeout.
POOL = """
import socket
import types
import pytest

class PoolTimeout(Exception):
    pass

class Impatient:
    def __init__(self, listen):
        host, _, port = listen.rpartition(":")
        self.address = host, int(port)

    def query(self, text):
        try:
            with socket.create_connection(self.address, timeout=1) as connection:
                connection.sendall(text.encode() + b"\\n")
                return int(connection.recv(20))
        except TimeoutError:
            raise PoolTimeout from None

make_pool = Impatient
"""
ASK = 'pytest.raises(PoolTimeout, make_pool(db.get()["listen"]).query, "SELECT 1")'


class _One(socketserver.StreamRequestHandler):
    """The backend of the page: whatever is asked, the answer is 1."""

    def handle(self) -> None:
        for _ in self.rfile:
            with contextlib.suppress(OSError):
                self.wfile.write(b"1\n")


def test_the_examples_of_the_page_on_tests(tmp_path: Path) -> None:
    """As what they are: the suite of somebody who has installed Seism."""
    text = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _One) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        address = "{}:{}".format(*server.server_address)
        suite = [each.text for each in blocks(text) if each.language == "python"]
        suite = [each.replace("127.0.0.1:5432", address) for each in suite]
        # The second one leaves its queries to the reader, too.
        suite[1] = suite[1].replace("...", ASK)
        (tmp_path / "test_pool.py").write_text(POOL + "\n".join(suite), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:cacheprovider"],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True, text=True, timeout=90, check=False,
        )  # fmt: skip
        server.shutdown()
    assert "2 passed" in done.stdout, done.stdout + done.stderr
