from __future__ import annotations

import io

from rich.console import Console

from seism.report.progress import Progress


def run(quiet: bool = False, **options: object) -> str:
    file = io.StringIO()
    console = Console(file=file, width=100, **options)  # type: ignore[arg-type]
    with Progress(console, quiet=quiet) as progress:
        progress.phase("starting the app")
        progress.phase("starting the app")
        for index, name in enumerate(("cache-slow", "[red]down[/red]\x1b[2J"), 1):
            progress.step(index, 2, name, "during")
            for done in range(0, 101, 50):
                progress.advance(done, 100)
        progress.note("worker w1 left")
    progress.phase("too late")
    progress.note("too late")
    return file.getvalue()


def test_a_pipe_gets_one_line_per_phase() -> None:
    assert run().splitlines() == [
        "starting the app",
        "1/2 cache-slow: during",
        "2/2 [red]down[/red]\\x1b[2J: during",
        "worker w1 left",
    ]


def test_a_terminal_gets_a_live_line_and_keeps_notes() -> None:
    text = run(force_terminal=True)
    assert "2/2 [red]down[/red]\\x1b[2J: during" in text
    assert "100/100 requests" in text
    assert "worker w1 left\n" in text
    assert "too late" not in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1


def test_quiet_is_silent() -> None:
    assert run(quiet=True) == ""
    assert run(quiet=True, force_terminal=True) == ""


def test_the_terminal_is_given_back_after_an_error() -> None:
    file = io.StringIO()
    try:
        with Progress(Console(file=file, force_terminal=True)) as progress:
            progress.phase("starting")
            raise RuntimeError
    except RuntimeError:
        pass
    assert file.getvalue().count("\x1b[?25h") == 1
