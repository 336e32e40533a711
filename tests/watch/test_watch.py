"""``seism watch`` on a real terminal, beside a real sidecar and a real app."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from seism.client import Control
from tests.ports import free_port
from tests.processes import app, process, sidecar, until
from tests.stage import CHAOS, Stage, staged
from tests.terminal import Terminal, terminal


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with staged(tmp_path / "journal.jsonl") as stage:
        yield stage


def watching(control: Control, *options: str) -> tuple[str, ...]:
    address = f"{control.host}:{control.port}"
    return (sys.executable, "-m", "seism", "watch", "--sidecar", address, *options)


def ended(seen: Terminal) -> int:
    until(lambda: bool(seen.look()) and seen.child.poll() is not None)
    return seen.child.wait()


def test_a_red_request_with_its_cause(stage: Stage) -> None:
    with terminal(*watching(stage.control)) as seen:
        seen.until("● ")  # what the sidecar still has is shown as well
        assert "GREEN" in seen.screen.display[0]
        with stage.toxic("reset_peer"):
            assert stage.get("/weak") == 500
            assert stage.get("/mute") == 503
        line = seen.until("✗ red ")
        assert "GET /weak" in line and "hit by reset_peer on cache (exact, ledger)" in line
        seen.until("▲ amber")
        assert "✗ RED" in seen.screen.display[0]
        assert "1 red" in seen.screen.display[0] and "1 amber" in seen.screen.display[0]
        # Lanes: one mark by colour and by shape, and the perturbation in the backend's.
        until(lambda: "✗" in (seen.look() and seen.line("GET /weak")))
        assert "▲" in seen.line("GET /mute") and "●" in seen.line("GET / ")
        assert "▒" in seen.line("cache") or "█" in seen.line("cache")
        for figure in ("slowest", "memory", "connections"):
            assert seen.line(figure).strip() != figure, "has no figure"
        assert seen.colours("●") == {"green"} and seen.colours("▲") == {"brown"}
        header = seen.until("cache reset_peer")
        matrix = seen.screen.display[seen.screen.display.index(header) :]
        assert any("GET /weak" in row and "✗ 1" in row for row in matrix)
        seen.press("q")
        assert ended(seen) == 0


def test_undo_everything_and_stand_still(stage: Stage) -> None:
    with terminal(*watching(stage.control)) as seen:
        seen.until("live")
        stage.control.add_toxic("cache", {"type": "latency", "attributes": {"latency": 1}})
        assert stage.control.proxies()["cache"]["toxics"]
        seen.press("k")
        seen.until("everything was undone")
        assert not stage.control.proxies()["cache"]["toxics"]
        seen.press(" ")
        seen.until("standing still")
        seen.look(0.5)
        still = seen.line("GET /")
        assert stage.get("/broken") == 500
        seen.until("✗ red")  # it goes on reading
        assert seen.line("GET / ") == still, "the time axis moved"
        seen.press(" ")
        seen.until("live")
        before = seen.screen.display[0]
        seen.press("-")
        until(lambda: seen.look()[0].split()[-2:] != before.split()[-2:])


def test_undo_everything_stops_standing_chaos(tmp_path: Path) -> None:
    file = tmp_path / "seism.toml"
    file.write_text(CHAOS)
    with sidecar(tmp_path / "journal.jsonl", "--config", str(file)) as control:
        with terminal(*watching(control)) as seen:
            seen.until("live")
            seen.press("k")
            seen.until("everything was undone")
        assert control.call("GET", "/seism/chaos")["running"] is False


def test_it_waits_for_a_sidecar_that_went_away(tmp_path: Path) -> None:
    port = free_port()
    with contextlib.ExitStack() as first:
        control = first.enter_context(sidecar(tmp_path / "1.jsonl", "--port", str(port)))
        with app("wsgi", "tests.experiment.small_app", control, CACHE="127.0.0.1:9") as (at, _):
            stage = Stage(control, at, tmp_path / "1.jsonl")
            with terminal(*watching(control)) as seen:
                for _ in range(5):
                    stage.get("/idle")
                seen.until("5 green")
                first.close()
                seen.until("away")
                for _ in range(3):
                    stage.get("/idle")
                with sidecar(tmp_path / "2.jsonl", "--port", str(port)):
                    seen.until("live")
                    stage.get("/idle")
                    seen.until("9 green")
                    seen.until("started anew")
                    seen.press("q")
                    assert ended(seen) == 0


def test_no_colour_where_none_is_wanted(stage: Stage) -> None:
    with terminal(*watching(stage.control), NO_COLOR="1") as seen:
        seen.until("● ")
        assert seen.colours("●") == {"default"}


def test_a_small_terminal_is_filled_and_not_overflown(stage: Stage) -> None:
    for path in ("/a", "/b", "/c", "/d", "/e", "/f", "/g"):
        stage.get(path)
    with terminal(*watching(stage.control), columns=60, rows=12) as seen:
        seen.until("more route")
        assert "GREEN" in seen.screen.display[0]
        assert "quit" in seen.screen.display[-1]


def test_lines_in_a_pipe(stage: Stage) -> None:
    with process(*watching(stage.control), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        with stage.toxic("reset_peer"):
            assert stage.get("/weak") == 500
        lines = [child.stdout.readline().decode() for _ in range(3)]
        assert any("began  cache  t  reset_peer" in line for line in lines)
        red = next(line for line in lines if "red" in line)
        assert "GET /weak" in red and "(exact, ledger)" in red
        assert "\x1b" not in "".join(lines)


def test_records_for_scripts(stage: Stage) -> None:
    with process(*watching(stage.control, "--json"), stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        kinds = {json.loads(child.stdout.readline())["kind"] for _ in range(2)}
        assert kinds == {"request.ended", "opinion"}


def test_nobody_there() -> None:
    argv = (sys.executable, "-m", "seism", "watch", "--sidecar", f"127.0.0.1:{free_port()}")
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20)
    assert done.returncode == 2
    assert done.stderr.startswith("seism: ") and done.stderr.count("\n") == 1
