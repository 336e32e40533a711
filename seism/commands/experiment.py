"""The commands that run an experiment: what they share, and ``run``, ``replay``, ``shrink``."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seism.commands.baseline import beside_baseline, failing, is_strict
from seism.errors import Unavailable

if TYPE_CHECKING:
    from seism.experiment.config import Planned
    from seism.experiment.runner import Run
    from seism.experiment.sweep import Swept
    from seism.verdict.result import Judgement

SEED_HELP = "The root of all chance.  [default: the file's, else 1]"
JOURNAL = "journal.jsonl"
INTERRUPTED = 130
"""Exit code of a run that Ctrl-C or SIGTERM ended: its reports have what there was."""
TIMELINE = "timeline.html"
APP_COMMAND = "seism.app_command"
SHARED = "seism.shared"
EXISTING_FILE = click.Path(path_type=Path, dir_okay=False)
FOLDER = click.Path(path_type=Path, file_okay=False)


def _share(context: click.Context, _: click.Parameter, value: bool) -> None:
    context.meta[SHARED] = value


shared = click.option(
    "--shared", is_flag=True, expose_value=False, callback=_share,
    help="Give the reports the mode that the umask gives, instead of 0600.",
)  # fmt: skip


@contextmanager
def private() -> Iterator[None]:
    """Files made meanwhile are the user's own, unless ``--shared`` was given."""
    if click.get_current_context().meta.get(SHARED):
        yield
        return
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def reports(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of the commands that run an experiment."""
    for decorate in (
        click.option("--seed", type=click.IntRange(0), help=SEED_HELP),
        click.option(
            "--report-dir", type=FOLDER, default=Path("seism-report"), show_default=True,
            help="Where journal and reports go.",
        ),
        click.option("--strict", is_flag=True, help="Amber is a failure, too."),
        failing,
        click.option("--quiet", is_flag=True, help="No progress, only the result."),
        shared,
    ):  # fmt: skip
        command = decorate(command)
    return command


def offer_init(file: Path) -> None:
    """Raises ConfigurationError where there is no ``file``."""
    from seism.errors import ConfigurationError

    if not file.exists():
        raise ConfigurationError(
            f"{file}: No such file or directory; write it for an application that exists by: "
            "seism init -- COMMAND"
        )


ALLOW = click.option(
    "--allow", multiple=True, metavar="BACKEND",
    help="Perturb it although it looks like production; repeatable.",
)  # fmt: skip


@contextmanager
def interruptible() -> Any:
    """SIGTERM ends a run as Ctrl-C does: everything is undone and reaped."""
    import signal

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def report(
    judgement: Judgement, journal: Path, directory: Path, strict: bool,
    shown: Judgement | None = None, interrupted: bool = False,
) -> int:  # fmt: skip
    """Write the reports, show the result (its matrix of ``shown``, if given); gives the code."""
    from rich.console import Console

    from seism.dashboard.standalone import render
    from seism.journal import read
    from seism.report import github
    from seism.report.summary import headline
    from seism.report.terminal import show
    from seism.report.writer import write

    strict = strict or is_strict()
    judgement = beside_baseline(judgement)
    try:
        with private():
            paths = write(judgement, directory, strict=strict)
            paths[TIMELINE] = directory / TIMELINE
            # Without a plan nothing was to be judged: the page says what it thinks of the requests.
            said = headline(judgement) if judgement.plan else ""
            page = render(read(journal), judgement, said)
            paths[TIMELINE].write_text(page, encoding="utf-8")
        for line in github.tell(judgement, strict, os.environ):
            click.echo(line)
    except OSError as error:
        raise Unavailable(f"{directory}: {error.strerror}") from None
    code = INTERRUPTED if interrupted else judgement.exit_code(strict)
    files = [journal, *paths.values()]
    show(judgement, Console(), paths=files, strict=strict, code=code, matrix=shown)
    if interrupted:
        click.echo(f"seism: interrupted; {directory} has what there was until then", err=True)
    return code


def repeatable(judgement: Judgement, journal: Path, config: Path) -> Judgement:
    """``judgement``, with the command that repeats its run; none where paths are not relative."""
    if journal.is_absolute() or config.is_absolute():
        return judgement
    file = "" if config == Path("seism.toml") else f" --config {shlex.quote(str(config))}"
    return replace(judgement, replay=f"seism replay {shlex.quote(str(journal))}{file}")


class WithCommand(click.Command):
    """Takes what follows ``--`` as the app's command, whatever it looks like."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        ctx.meta[APP_COMMAND] = tuple(args[end + 1 :])
        return super().parse_args(ctx, args[:end])

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND...]"]


@click.command(cls=WithCommand)
@click.argument("file", type=EXISTING_FILE, default=Path("seism.toml"))
@click.option("--redirect", is_flag=True, help="Send a Python app's connects to proxies.")
@ALLOW
@reports
@click.pass_context
def run(
    context: click.Context, file: Path, redirect: bool, allow: tuple[str, ...], seed: int | None,
    report_dir: Path, strict: bool, quiet: bool,
) -> int:  # fmt: skip
    """Run the experiment in FILE (default: seism.toml) and judge it.

    What follows -- starts the app, instead of the command in FILE. The backends' addresses
    in its environment and in .ini files that it names are replaced by their proxies'.
    """
    from rich.console import Console

    from seism.experiment.config import load
    from seism.experiment.runner import Run
    from seism.report.progress import Progress

    offer_init(file)
    experiment = load(file)
    seed = experiment.seed if seed is None else seed
    with interruptible(), Progress(Console(stderr=True), quiet=quiet) as progress:
        this = Run(
            experiment,
            file.resolve(),
            seed,
            report_dir.resolve(),
            progress,
            command=context.meta[APP_COMMAND],
            redirect=redirect,
            allow=allow,
        )
        judgement = this.judge()
    journal = report_dir / JOURNAL
    if not context.meta[APP_COMMAND]:
        judgement = repeatable(judgement, journal, file)
    return report(judgement, journal, report_dir, strict, interrupted=this.interrupted)


@click.command(cls=WithCommand)
@click.argument("file", type=EXISTING_FILE, default=Path("seism.toml"))
@click.option("--redirect", is_flag=True, help="Send a Python app's connects to proxies.")
@click.option("--without", multiple=True, metavar="NAME", help="Do not try this toxic; repeatable.")
@click.option("--resume", is_flag=True, help="Go on with the stopped sweep in --report-dir.")
@ALLOW
@reports
@click.pass_context
def sweep(
    context: click.Context, file: Path, redirect: bool, without: tuple[str, ...], resume: bool,
    allow: tuple[str, ...], seed: int | None, report_dir: Path, strict: bool, quiet: bool,
) -> int:  # fmt: skip
    """Try every toxic on every exchange of every route of FILE's load, one at a time.

    Learns first which exchanges there are. What was not tried is listed, with the reason.
    """
    from rich.console import Console

    from seism.errors import ConfigurationError
    from seism.experiment import sweep as sweeping
    from seism.experiment.config import load
    from seism.experiment.session import Session
    from seism.options import nearest
    from seism.report.progress import Progress

    offer_init(file)
    experiment = load(file)
    if experiment.load is not None and experiment.load.locust is not None:
        raise ConfigurationError(
            f"{file}: a sweep sends its own requests: [[load.route]] is needed"
        )
    known = [toxic.name for toxic in experiment.swept()]
    for name in without:
        if name not in known:
            raise ConfigurationError(f"--without: no toxic {name!r}{nearest(name, known)}")
    seed = experiment.seed if seed is None else seed
    earlier = sweeping.found_before(report_dir / "report.json") if resume else {}
    with interruptible(), Progress(Console(stderr=True), quiet=quiet) as progress:
        with Session(
            experiment, file.resolve(), seed, report_dir.resolve(), progress,
            command=context.meta[APP_COMMAND], redirect=redirect, allow=allow,
        ) as session:  # fmt: skip
            swept = sweeping.run(session, without, earlier)
    if not context.meta[APP_COMMAND]:
        judgement = repeatable(swept.judgement, report_dir / JOURNAL, file)
        swept = replace(swept, judgement=judgement)
    return show_sweep(swept, report_dir, strict)


def show_sweep(swept: Swept, directory: Path, strict: bool) -> int:
    """Write the reports of a sweep and show it; returns the exit code."""
    from seism.experiment.sweep import write_coverage

    code = report(
        swept.judgement, directory / JOURNAL, directory, strict, swept.collapsed(),
        swept.interrupted,
    )  # fmt: skip
    for line in swept.lines():
        click.echo(line)
    with private():
        write_coverage(swept, directory / "coverage.json")
    return code


@click.command()
@click.argument("journal", type=EXISTING_FILE)
@click.option(
    "--config", type=EXISTING_FILE, default=Path("seism.toml"), show_default=True,
    help="The experiment's file: app, backends, load and rules.",
)  # fmt: skip
@click.option("--only", multiple=True, metavar="NAME", help="Only this perturbation; repeatable.")
@click.option("--route", default="", help="Only the load of this route: 'GET /items/{id}'.")
@click.option(
    "--report-dir", type=FOLDER, default=Path("seism-replay"), show_default=True,
    help="Where journal and reports go.",
)  # fmt: skip
@click.option("--strict", is_flag=True, help="Amber is a failure, too.")
@click.option("--quiet", is_flag=True, help="No progress, only the result.")
@shared
def replay(
    journal: Path,
    config: Path,
    only: tuple[str, ...],
    route: str,
    report_dir: Path,
    strict: bool,
    quiet: bool,
) -> int:
    """Run again what JOURNAL tells: the same perturbations, in the same order.

    What chance decided then is triggered by route, occurrence and exchange now.
    """
    _, planned, again = _replayer(journal, config, quiet, route)
    from seism.experiment.replay import only as chosen

    this, judgement = again(chosen(planned, only), report_dir)
    judgement = repeatable(judgement, report_dir / JOURNAL, config)
    journal = report_dir / JOURNAL
    return report(judgement, journal, report_dir, strict, interrupted=this.interrupted)


@click.command()
@click.argument("journal", type=EXISTING_FILE)
@click.option(
    "--config", type=EXISTING_FILE, default=Path("seism.toml"), show_default=True,
    help="The experiment's file: app, backends, load and rules.",
)  # fmt: skip
@click.option("--route", default="", help="The red route.  [default: the first with an exact hit]")
@click.option(
    "--output", type=EXISTING_FILE, help="The pytest file.  [default: test_ROUTE_....py beside it]"
)
@click.option(
    "--report-dir", type=FOLDER, default=Path("seism-shrink"), show_default=True,
    help="Where the journals of the replays go.",
)  # fmt: skip
@click.option("--quiet", is_flag=True, help="No progress, only the result.")
def shrink(
    journal: Path, config: Path, route: str, output: Path | None, report_dir: Path, quiet: bool
) -> int:
    """Find the fewest perturbations that still break a route of JOURNAL, by replays.

    Writes a pytest file that fails until the app is repaired; it uses Seism's plug-in.
    """
    from seism.experiment import shrink as shrinking
    from seism.journal import read
    from seism.verdict.judgement import judge

    seed, planned, again = _replayer(journal, config, quiet)
    cell = shrinking.target(judge(read(journal)), route)
    replays = 0
    code = 0
    found: Sequence[Planned] = ()

    def fails(some: Sequence[Planned]) -> bool:
        nonlocal replays, code, found
        replays += 1
        this, judgement = again(list(some), report_dir / f"{replays}")
        red = shrinking.breaks(judgement, cell.route)
        names = ", ".join(one.name for one in some)
        if not red and (judgement.incomplete or this.limit):
            code = INTERRUPTED if this.interrupted else judgement.exit_code()
            raise shrinking.Stopped(judgement.incomplete or this.limit)
        click.echo(f"{replays}. {'red' if red else 'not red'}: {names}")
        if red:
            found = some
        if this.interrupted:
            code = INTERRUPTED
            raise shrinking.Stopped(judgement.incomplete)
        return red

    try:
        found = shrinking.shrink(planned, fails, shrinking.suspect(planned, cell))
    except shrinking.Stopped as stopped:
        rest = "fewer may be enough" if found else "none before it was red"
        click.echo(f"seism: stopped at replay {replays}: {stopped}; {rest}", err=True)
        if not found:
            return code
    path = output or config.absolute().parent / f"test_{shrinking.slug(cell)}.py"
    file = os.path.relpath(config.absolute(), path.absolute().parent)
    shrinking.write(path, shrinking.regression(found, cell, seed, file))
    click.echo(
        f"{cell.route} breaks under {', '.join(one.name for one in found)} alone "
        f"({len(found)} of {len(planned)} perturbations, {replays} replays)"
    )
    click.echo(str(path))
    return code


def _replayer(
    journal: Path, config: Path, quiet: bool, route: str = ""
) -> tuple[int, list[Planned], Callable[[list[Planned], Path], tuple[Run, Judgement]]]:
    """(seed, what was perturbed, what perturbs some of it again and judges)."""
    from rich.console import Console

    from seism.errors import ConfigurationError
    from seism.experiment.config import load
    from seism.experiment.replay import of_route, seed_and_plan
    from seism.experiment.runner import Run
    from seism.journal import read
    from seism.report.progress import Progress

    experiment = load(config)
    if experiment.load is None:
        raise ConfigurationError(f"{config}: a [[load.route]] is needed")
    seed, planned = seed_and_plan(read(journal), experiment.load)
    if route:
        chosen, planned = of_route(experiment.load, planned, route)
        experiment = replace(experiment, load=chosen)

    def again(some: list[Planned], folder: Path) -> tuple[Run, Judgement]:
        with interruptible(), Progress(Console(stderr=True), quiet=quiet) as progress:
            this = Run(experiment, config.resolve(), seed, folder.resolve(), progress, planned=some)
            return this, this.judge()

    return seed, planned, again
