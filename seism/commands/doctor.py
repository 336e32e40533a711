"""``seism doctor``."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from seism.commands.experiment import APP_COMMAND, EXISTING_FILE, WithCommand, interruptible
from seism.report.text import clean

HEALTHY, AILING = 0, 1
"""Exit codes: nothing needs a remedy, or something does."""


@click.command(cls=WithCommand)
@click.argument("file", type=EXISTING_FILE, default=Path("seism.toml"))
@click.option("--redirect", is_flag=True, help="Send a Python app's connects to proxies.")
@click.option("--quiet", is_flag=True, help="No progress, only the result.")
@click.pass_context
def doctor(context: click.Context, file: Path, redirect: bool, quiet: bool) -> int:
    """Start the app of FILE (default: seism.toml), and say why a run would prove nothing.

    It sends a few requests, perturbs nothing, and looks at the observer, the proxies and the
    app's processes and connections. Lines with "!" say what to do; the exit code is 1 then.

    \b
    Example:
      seism doctor
      seism doctor -- gunicorn app:app
    """
    from rich.console import Console

    from seism.experiment.config import load
    from seism.experiment.doctor import examine
    from seism.experiment.session import Session
    from seism.report.progress import Progress

    experiment = load(file)
    with (
        tempfile.TemporaryDirectory(prefix="seism-") as folder,
        interruptible(),
        Progress(Console(stderr=True), quiet=quiet) as progress,
        Session(
            experiment,
            file.resolve(),
            experiment.seed,
            Path(folder),
            progress,
            command=context.meta[APP_COMMAND],
            redirect=redirect,
        ) as session,
    ):
        found = examine(session)
        session.finish()
    for finding in found:
        click.echo(clean(f"{'ok' if finding.ok else '! '} {finding.text}", 1000))
    return HEALTHY if all(finding.ok for finding in found) else AILING
