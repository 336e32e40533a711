"""The demo: real backends, an example app, one experiment, and what was planted."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.text import Text

from seism.demo import planted
from seism.demo.backends import Backends
from seism.errors import ConfigurationError
from seism.experiment import sweep as sweeping
from seism.experiment.config import load
from seism.experiment.runner import Run
from seism.experiment.session import Session
from seism.experiment.sweep import Swept
from seism.report.progress import Progress
from seism.verdict.result import Judgement


def folder(app: str, source: Path | None) -> Path:
    """Where the example app is: ``source``, or the one that comes with Seism."""
    found = source.resolve() if source else Path(__file__).parent / app
    if not (found / "seism.toml").is_file():
        raise ConfigurationError(
            f"{found}: no example app is there (no seism.toml); copy {Path(__file__).parent / app}"
        )
    return found


def judge(
    app: str, source: Path | None, seed: int | None, directory: Path, progress: Progress
) -> Judgement:
    """Run the example's experiment on real backends. Raises SeismError."""
    file = folder(app, source) / "seism.toml"
    progress.phase("starting Valkey and PostgreSQL")
    with Backends() as backends:
        environ = {f"DEMO_{name.upper()}": address for name, address in backends.addresses.items()}
        experiment = load(file, environ)
        seed = experiment.seed if seed is None else seed
        return Run(experiment, file, seed, directory, progress, environ).judge()


def sweep(
    app: str, source: Path | None, seed: int | None, directory: Path, progress: Progress
) -> Swept:
    """Sweep the example on real backends. Raises SeismError."""
    file = folder(app, source) / "sweep.toml"
    progress.phase("starting Valkey and PostgreSQL")
    with Backends() as backends:
        environ = {f"DEMO_{name.upper()}": address for name, address in backends.addresses.items()}
        experiment = load(file, environ)
        seed = experiment.seed if seed is None else seed
        with Session(experiment, file, seed, directory, progress, environ) as session:
            return sweeping.run(session)


def compare(
    app: str, source: Path | None, judgement: Judgement, console: Console, *, swept: bool = False
) -> int:
    """Only now read what was planted; say whether it was found, and nothing else.

    Returns the exit code.
    """
    console.print()
    known = planted.load(folder(app, source) / "planted.toml")
    result = planted.compare(known, judgement, swept=swept)
    for weakness in result.found:
        console.print(
            Text(f"found   {weakness.route} under {weakness.perturbation}: {weakness.what}")
        )
    for line in result.missed:
        console.print(Text(f"MISSED  {line}", style="bold red"))
    for line in result.blamed:
        console.print(Text(f"BLAMED  {line}", style="bold red"))
    if result.exact:
        console.print(
            Text(
                f"All {len(result.found)} planted weaknesses were found, and nothing else: "
                f"the {'sweep' if swept else 'demo'} passes.",
                style="bold green",
            )
        )
        return 0
    console.print(Text("The verdicts are not what was planted.", style="bold red"))
    return 1
