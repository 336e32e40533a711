"""The command line: arguments and logging, nothing else.

The commands that drive a sidecar that runs are in ``seism.commands``.

Exit codes: 0 green, 1 red (or amber with --strict), 2 bad input, 3 no steady state
before the start, 4 a perturbation never fired, nothing was judged or observations are
missing, 130 interrupted.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click

from seism import __version__
from seism.commands.baseline import baseline, diff, failing
from seism.commands.check import check
from seism.commands.doctor import doctor
from seism.commands.experiment import (
    EXISTING_FILE,
    FOLDER,
    JOURNAL,
    SEED_HELP,
    interruptible,
    repeatable,
    replay,
    reports,
    run,
    shared,
    show_sweep,
    shrink,
    sweep,
)
from seism.commands.experiment import report as show_report
from seism.commands.init import init
from seism.commands.new import new
from seism.commands.proxy import proxy
from seism.commands.tail import reset, tail
from seism.commands.toxic import toxic
from seism.commands.translate import import_
from seism.commands.watch import watch
from seism.errors import SeismError
from seism.report.text import clean


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]}, epilog=__doc__.split("\n\n")[2]
)
@click.version_option(__version__, prog_name="seism")
def cli() -> None:
    """Prove that a web application survives its backends."""


COMMANDS = (
    run, sweep, doctor, replay, shrink, baseline, diff, proxy, toxic, reset, tail, watch, check,
    init, new, import_,
)  # fmt: skip
for command in COMMANDS:
    cli.add_command(command)


def main() -> NoReturn:
    """The ``seism`` program."""
    try:
        code = cli.main(prog_name="seism", standalone_mode=False)
    except click.Abort:
        click.echo("seism: interrupted", err=True)
        code = 130
    except click.ClickException as error:
        error.show()
        code = 2
    except SeismError as error:
        click.echo(f"seism: {error}", err=True)
        code = error.exit_code
    except BrokenPipeError:
        # Whoever read has seen enough; the interpreter flushes once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code or 0)


def _sidecar(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of the commands that run a sidecar."""
    for decorate in (
        click.option("--verbose", "-v", is_flag=True, help="Log more."),
        click.option(
            "--journal", type=EXISTING_FILE,
            help="The journal's file; an earlier one is renamed, never overwritten."
            "  [default: seism-report/journal-TIME.jsonl]",
        ),
        click.option("--calm", is_flag=True, help="Without FILE's [chaos]."),
        click.option(
            "--hold-ms", type=click.IntRange(0, 1000), default=20, show_default=True,
            help="How long a toxic waits at most for an observer that must look who is hit; "
            "0: never.",
        ),
        click.option("--seed", type=click.IntRange(0), help=SEED_HELP),
        click.option(
            "--any-user", is_flag=True,
            help="Without SEISM_TOKEN, let other local users call the API, too.",
        ),
        click.option(
            "--port", type=click.IntRange(0, 65535), default=8474, show_default=True,
            help="Its port; 0 picks a free one.",
        ),
        click.option(
            "--host", default="127.0.0.1", show_default=True, help="Address of the control API."
        ),
        click.option("--config", type=EXISTING_FILE, help="The same as FILE."),
        click.argument("file", type=EXISTING_FILE, required=False),
    ):  # fmt: skip
        command = decorate(command)
    return command


@cli.command()
@_sidecar
def serve(**options: Any) -> None:
    """Run the sidecar: proxies, journal and control API, until it is interrupted.

    The backends of FILE get proxies, with their toxics: a seism.toml, or Toxiproxy's JSON.
    Its [chaos], if there is one, perturbs them at random times.
    Prints the control API's address. Anything but a loopback address needs a token in
    the environment variable SEISM_TOKEN.
    """
    _serve(**options)


@cli.command()
@_sidecar
@click.option("--app", help="Where the app answers: http://host:port.  [default: the file's]")
@click.option("--listen", help="Where its clients go: host:port.  [default: the file's, or any]")
@click.option(
    "--bad-gateway", is_flag=True, default=None,
    help="Clients get a 502 where the app cannot be reached, instead of a reset.",
)  # fmt: skip
def front(app: str | None, listen: str | None, bad_gateway: bool | None, **options: Any) -> None:
    """Run the sidecar with a proxy in front of an app that can have no middleware.

    It observes the app's HTTP requests as the middleware would, for the same verdicts.
    Prints the control API's address, then the one for the app's clients.
    """
    given = {"app": app, "listen": listen, "bad_gateway": bad_gateway}
    _serve(**options, front={key: value for key, value in given.items() if value is not None})


def _serve(
    *, file: Path | None, config: Path | None, verbose: bool, journal: Path | None,
    front: dict[str, Any] | None = None, **options: Any,
) -> None:  # fmt: skip
    if file and config:
        raise click.UsageError("FILE and --config are the same: one of them is enough.")
    _log(verbose)
    from seism.journal import set_aside
    from seism.sidecar.process import Sidecar
    from seism_middleware.contract import TOKEN_VARIABLE

    if journal is None:
        journal = Path("seism-report") / time.strftime("journal-%Y%m%d-%H%M%S.jsonl")
    elif kept := set_aside(journal):
        click.echo(f"the earlier journal is now {kept}", err=True)
    sidecar = Sidecar.configured(
        file or config, journal=journal, token=os.environ.get(TOKEN_VARIABLE, ""), front=front,
        **options,
    )  # fmt: skip

    def ready() -> None:
        # What start-up has made stays: no collection needs to walk it while bytes wait.
        gc.collect()
        gc.freeze()
        click.echo(f"http://{sidecar.address}")
        if sidecar.front_address:
            click.echo(f"http://{sidecar.front_address}")
        sys.stdout.flush()

    sidecar.run_until_stopped(ready)


@cli.command()
@reports
@click.option(
    "--app", type=click.Choice(["wsgi", "asgi"]), default="wsgi", show_default=True,
    help="Pyramid under waitress, or FastAPI under uvicorn.",
)  # fmt: skip
@click.option("--app-source", type=FOLDER, help="A changed copy of the example app's folder.")
@click.option("--sweep", is_flag=True, help="Sweep it: more weaknesses, over a minute. wsgi only.")
def demo(
    app: str, app_source: Path | None, sweep: bool, seed: int | None, report_dir: Path,
    strict: bool, quiet: bool,
) -> int:  # fmt: skip
    """Show the whole loop: real backends, an example app with planted weaknesses.

    Ends with 0 if exactly the planted weaknesses were found, else with 1.
    """
    from rich.console import Console

    from seism.demo import runner
    from seism.report.progress import Progress

    if sweep and app != "wsgi":
        raise click.UsageError("--sweep is for --app wsgi.")
    with interruptible(), Progress(Console(stderr=True), quiet=quiet) as progress:
        if sweep:
            swept = runner.sweep(app, app_source, seed, report_dir.resolve(), progress)
        else:
            judgement = runner.judge(app, app_source, seed, report_dir.resolve(), progress)
    if sweep:
        code, judgement = show_sweep(swept, report_dir, strict), swept.collapsed()
    else:
        code = show_report(judgement, report_dir / JOURNAL, report_dir, strict)
    if code in (3, 4):
        return code
    return runner.compare(app, app_source, judgement, Console(), swept=sweep)


@cli.command()
@click.argument("journal", type=EXISTING_FILE)
@click.option("--report-dir", type=FOLDER, help="Where the reports go.  [default: beside it]")
@click.option("--strict", is_flag=True, help="Amber is a failure, too.")
@failing
@shared
def report(journal: Path, report_dir: Path | None, strict: bool) -> int:
    """Judge a JOURNAL again and write its reports."""
    from seism.journal import read
    from seism.verdict.judgement import judge

    judgement = judge(read(journal))
    if (config := Path("seism.toml")).exists():
        judgement = repeatable(judgement, journal, config)
    return show_report(judgement, journal, report_dir or journal.parent, strict)


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes SHELL complete seism: eval "$(seism completion bash)"."""
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    script = found(cli, {}, "seism", "_SEISM_COMPLETE").source()
    if shell == "bash":
        # The value follows at once.
        offer = "COMPREPLY+=($value)"
        script = script.replace(
            offer, f"{offer}; [[ $value == *= ]] && compopt -o nospace 2>/dev/null"
        )
    click.echo(script)


def _log(verbose: bool) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[handler])


class _Formatter(logging.Formatter):
    """One line for each message, which a terminal shows and does not obey."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return clean(super().formatMessage(record), 10_000)

    def formatException(self, ei: Any) -> str:
        return "\n".join(clean(line, 1000) for line in super().formatException(ei).split("\n"))
