"""The benchmark runs, and says what it is said to; no test depends on how fast anything is."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import run
from bench.cases import CASES, load
from bench.contestants import HAPROXY, INSTALL_HAPROXY, LOAD, SEISM, build_load, other, server

pytestmark = pytest.mark.skipif(
    not (shutil.which("make") and shutil.which("cc")), reason="the load generator needs cc and make"
)


@pytest.fixture(scope="module", autouse=True)
def built() -> None:
    build_load()


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    with server() as address:
        yield address


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 2**60), max_size=50))
def test_histograms_lose_no_value_and_little_precision(values: list[int]) -> None:
    text = " ".join(map(str, values))
    said = subprocess.run([LOAD, "histogram"], input=text, capture_output=True, text=True)
    buckets = json.loads(said.stdout)["histogram"]
    assert sum(count for _, _, count in buckets) == len(values)
    for low, high, count in buckets:
        assert count == sum(low <= value < high for value in values)
        assert high - low <= max(1, low / 64)


@pytest.mark.parametrize("mode", ["ping", "pace", "burst", "up", "down"])
def test_each_mode_counts_what_it_did(upstream: str, mode: str) -> None:
    found = load(mode, upstream, connections=3, seconds=0.05, size=64, rate=1000, pid=os.getpid())
    assert found["mode"] == mode
    assert found["seconds"] >= 0.05
    assert found["cpu_ns"] >= 0
    assert found["bytes"] > 0
    assert found["messages"] == sum(count for _, _, count in found["histogram"])
    assert (found["messages"] > 0) == (mode in ("ping", "pace", "burst"))


def test_without_a_process_there_is_no_processor_time(upstream: str) -> None:
    assert load("ping", upstream, seconds=0.01)["cpu_ns"] == -1


def test_a_connection_that_closes_is_a_failure() -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def close_first() -> None:
            listener.accept()[0].close()

        closing = threading.Thread(target=close_first)
        closing.start()
        said = subprocess.run(
            [LOAD, "ping", "127.0.0.1:{1}".format(*listener.getsockname())],
            capture_output=True, text=True,
        )  # fmt: skip
        closing.join()
    assert said.returncode == 1
    assert said.stderr.startswith("load: ")


@pytest.mark.parametrize(
    "words",
    [["127.0.0.1"], ["127.0.0.1:1", "--size"], ["127.0.0.1:1", "--size", "1"], ["[x:1"],
     ["127.0.0.1:1", "--speed", "3"], ["127.0.0.1:1", "--pid", "999999999"]],
)  # fmt: skip
def test_what_cannot_be_is_one_line(words: list[str]) -> None:
    said = subprocess.run([LOAD, "ping", *words], capture_output=True, text=True)
    assert said.returncode == 1
    assert said.stderr.startswith("load: ")
    assert said.stderr.count("\n") == 1


def test_the_tool_measures_prints_and_writes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = ["ping-1", "observer", "pinned", "delay-1-2000-transfer"]
    file = tmp_path / "bench.json"
    run.main(
        [
            "--rounds",
            "2",
            "--seconds",
            "0.1",
            "--only",
            ",".join(cases),
            "--json",
            str(file),
            "--skip",
            "naive",
        ]
    )
    document = json.loads(file.read_text())
    assert document["rounds"] == 2
    assert list(document["results"]) == cases
    for figures in document["results"].values():
        for samples in figures.values():
            # A round in which nothing came through is null: this test is not about speed.
            assert SEISM in samples
            for values in samples.values():
                assert len(values) == 2
                assert all(value is None or isinstance(value, float) for value in values)
    assert set(document["machine"]) >= {"date", "processor", "cores", "python", "haproxy"}
    said = capsys.readouterr()
    assert "1 connection: requests/s" in said.out
    if HAPROXY not in document["results"]["ping-1"]["requests/s"]:
        assert INSTALL_HAPROXY in said.err


def test_any_other_proxy_takes_part(upstream: str, tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    run.main([
        "--rounds", "1", "--seconds", "0.05", "--only", "ping-1", "--json", str(file),
        "--skip", "naive,HAProxy", "--other", f"mine={upstream}={os.getpid()}",
    ])  # fmt: skip
    figures = json.loads(file.read_text())["results"]["ping-1"]
    assert figures["requests/s"]["mine"][0] > 0
    assert "mine" in figures["CPU µs per round trip"]


@pytest.mark.parametrize("text", ["", "mine", "mine=here", "=h:1", "m=h:1=2=3", "m=h:1=x"])
def test_what_is_no_proxy_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        other(text)


def test_each_case_has_a_name_of_its_own() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
