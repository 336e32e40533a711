"""``seism baseline`` and ``seism diff``: weaknesses that are accepted, and two runs compared."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from seism.verdict.result import Judgement

BASELINE = "seism-baseline.toml"
FAIL_ON, ACCEPTED = "seism.fail_on", "seism.accepted"
AMBER = "amber"
EXISTING = click.Path(path_type=Path)


def entries(context: click.Context, _: click.Parameter, value: Path | None) -> None:
    """Keep the entries of the baseline that counts, before anything is run."""
    from seism.errors import ConfigurationError
    from seism.report.baseline import load

    fail_on = context.meta.get(FAIL_ON)
    file = value or Path(BASELINE)
    if fail_on in ("red", AMBER):
        return
    if file.exists():
        context.meta[ACCEPTED] = (str(file), load(file))
    elif value is not None or fail_on == "new":
        raise ConfigurationError(f"{file}: no such file; seism baseline writes it from a report")


def beside_baseline(judgement: Judgement) -> Judgement:
    """``judgement``, compared with the baseline of the command that runs, if there is one."""
    from seism.report.baseline import compare

    context = click.get_current_context()
    if ACCEPTED not in context.meta or not judgement.steady.met:
        return judgement
    file, accepted = context.meta[ACCEPTED]
    return compare(judgement, accepted, file, datetime.now().date())


def is_strict() -> bool:
    """Whether ``--fail-on amber`` was given."""
    return bool(click.get_current_context().meta.get(FAIL_ON) == AMBER)


@click.command()
@click.argument("report", type=EXISTING, default=Path("seism-report/report.json"))
@click.option(
    "--file",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path(BASELINE),
    show_default=True,
    help="The baseline to write; commit it.",
)
@click.option("--reason", default="", help="Why the weaknesses that it adds are accepted.")
@click.option(
    "--until", type=click.DateTime(["%Y-%m-%d"]), help="The last day on which they are accepted."
)
def baseline(report: Path, file: Path, reason: str, until: datetime | None) -> None:
    """Accept the weaknesses in REPORT (default: seism-report/report.json).

    From then on, seism run fails for new ones only. Entries that are no longer in REPORT are
    removed; the others keep their reason and their day.
    """
    from seism.report.baseline import accept, dump, load

    before = load(file) if file.exists() else ()
    day = until.date() if until is not None else None
    after = accept(report, before, reason, day)
    file.write_text(dump(after), encoding="utf-8")
    known = {each.fingerprint for each in before}
    added = [each for each in after if each.fingerprint not in known]
    there = {each.fingerprint for each in after}
    for each in added:
        click.echo(f"accepted: {each.title}")
    for each in before:
        if each.fingerprint not in there:
            click.echo(f"gone: {each.title}")
    click.echo(f"{file}: {len(after)} accepted, {len(added)} of them new")


@click.command()
@click.argument("before", type=EXISTING)
@click.argument("after", type=EXISTING)
def diff(before: Path, after: Path) -> int:
    """Compare the weaknesses in BEFORE and AFTER: reports (report.json), or their folders.

    Ends with 1 if AFTER has new ones.
    """
    from seism.report.baseline import difference
    from seism.report.text import clean

    found = difference(before, after)
    for name, titles in (("new", found.new), ("gone", found.gone), ("still there", found.kept)):
        for title in titles:
            click.echo(f"{name}: {clean(title, 400)}")
    click.echo(f"{len(found.new)} new, {len(found.gone)} gone, {len(found.kept)} still there")
    return 1 if found.new else 0


def failing(command: Any) -> Any:
    """The options that say what fails a run."""
    for decorate in (
        click.option(
            "--baseline",
            type=click.Path(path_type=Path, dir_okay=False),
            expose_value=False,
            callback=entries,
            help=f"Accepted weaknesses.  [default: {BASELINE}, where it exists]",
        ),
        click.option(
            "--fail-on",
            type=click.Choice(["new", "red", AMBER]),
            is_eager=True,
            expose_value=False,
            callback=_fail_on,
            help="What fails the run: new weaknesses, anything red, or anything amber, too.  "
            "[default: new with a baseline, else red]",
        ),
    ):
        command = decorate(command)
    return command


def _fail_on(context: click.Context, _: click.Parameter, value: str | None) -> None:
    context.meta[FAIL_ON] = value
