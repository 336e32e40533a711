"""What the shell is offered, asked as the shells ask."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from seism.client import Client
from tests.processes import free_port

Offer = Callable[..., list[str]]


@pytest.fixture
def asked(environment: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    def ask(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
        """The last of ``words`` is incomplete."""
        return subprocess.run(
            [sys.executable, "-m", "seism"],
            env={
                **environment,
                "_SEISM_COMPLETE": "bash_complete",
                "COMP_WORDS": "\n".join(["seism", *words]),
                "COMP_CWORD": str(len(words)),
                **env,
            },
            capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip

    return ask


@pytest.fixture
def offered(asked: Callable[..., subprocess.CompletedProcess[str]]) -> Offer:
    def offer(*words: str, **env: str) -> list[str]:
        done = asked(*words, **env)
        assert done.stderr == ""
        return [line.removeprefix("plain,") for line in done.stdout.splitlines() if line]

    return offer


@pytest.fixture
def db(client: Client) -> str:
    client.create("db", "127.0.0.1:1", toxics=[{"type": "latency", "name": "slow"}])
    client.create("cache", "127.0.0.1:1", toxics=[{"type": "timeout"}])
    return "db"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["proxy", "inspect", ""], ["cache", "db"]),
        (["proxy", "inspect", "d"], ["db"]),
        (["proxy", "disable", "db", ""], ["cache"]),
        (["toxic", "list", ""], ["cache", "db"]),
        (["toxic", "remove", "db", ""], ["slow"]),
        (["toxic", "remove", "cache", ""], ["timeout_downstream"]),
        (["toxic", "remove", "none", ""], []),
        (["toxic", "add", "db", "lat"], ["late", "latency"]),
        (["toxic", "types", "lat"], ["late", "latency"]),
        (["toxic", "add", "db", "latency", "ji"], ["jitter="]),
        (["toxic", "add", "db", "latency", "jitter=1", "j"], []),
        (["toxic", "add", "db", "latency", "jitter", "=", "1", "lat"], ["latency="]),
        (["toxic", "add", "db", "none", ""], []),
        (["toxic", "update", "db", "slow", "ji"], ["jitter="]),
        (["toxic", "update", "cache", "timeout_downstream", "t"], ["timeout="]),
        (["proxy", "update", "db", "en"], ["enabled="]),
        (["proxy", "update", "db", "enabled=f"], ["enabled=false"]),
        # bash makes words of their own from "=".
        (["proxy", "update", "db", "enabled", "="], ["true", "false"]),
        (["proxy", "update", "db", "enabled", "=", "t"], ["true"]),
        (["proxy", "add", "new", "name"], []),
    ],
    ids=lambda value: " ".join(value),
)
def test_what_is_offered(db: str, offered: Offer, words: list[str], expected: list[str]) -> None:
    assert offered(*words) == expected


def test_the_sidecar_that_is_given(client: Client, db: str, offered: Offer) -> None:
    address = f"{client.host}:{client.port}"
    away = f"127.0.0.1:{free_port()}"
    assert offered("proxy", "inspect", "--sidecar", address, "d", SEISM_SIDECAR=away) == ["db"]


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nonsense", None])
@pytest.mark.parametrize("words", [["proxy", "inspect", ""], ["toxic", "update", "db", "x", ""]])
def test_silence_when_the_sidecar_is_away(
    offered: Offer, words: list[str], address: str | None
) -> None:
    if address is None:
        address = f"127.0.0.1:{free_port()}"
    assert offered(*words, SEISM_SIDECAR=address) == []


def test_a_broken_plug_in_is_silent(asked: Callable[..., object], tmp_path: Path) -> None:
    folder = tmp_path / "broken-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Name: broken\nVersion: 1\n")
    (folder / "entry_points.txt").write_text("[seism.toxics]\nbroken = no.such.module:Toxic\n")
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    done = asked("toxic", "types", "lat", PYTHONPATH=path)
    assert isinstance(done, subprocess.CompletedProcess)
    assert (done.stdout, done.stderr) == ("plain,late\nplain,latency\n", "")


def test_in_bash(db: str, environment: dict[str, str], tmp_path: Path) -> None:
    """The script that users evaluate, in the shell that it is for."""
    bash = shutil.which("bash")
    assert bash
    program = tmp_path / "seism"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m seism "$@"\n')
    program.chmod(0o755)
    script = (
        'eval "$(seism completion bash)"\n'
        "COMP_WORDS=(seism toxic add db latency '') COMP_CWORD=5\n"
        "_seism_completion seism\n"
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(
        [bash, "--norc", "-c", script],
        env={**environment, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    assert {"latency=", "jitter="} <= set(done.stdout.split())
