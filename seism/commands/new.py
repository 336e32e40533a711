"""``seism new``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from seism.options import build, describe


def _templates(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        from seism.demo.scaffold import TEMPLATES

        click.echo(TEMPLATES)
        context.exit()


def _questions(command: Any) -> Any:
    """An option for each answer; what is not given is asked for on a terminal."""
    from seism.demo.scaffold import Answers

    for question in reversed([one for one in describe(Answers) if not one.required]):
        command = click.option(
            f"--{question.name}",
            type=click.Choice(question.option.choices),
            help=f"{question.option.help.capitalize()}.  [default: {question.default}]",
        )(command)
    return command


@click.command()
@click.argument("folder", metavar="NAME", type=click.Path(path_type=Path))
@_questions
@click.option(
    "--templates", is_flag=True, is_eager=True, expose_value=False, callback=_templates,
    help="Say where the templates are, for copier, and exit.",
)  # fmt: skip
def new(folder: Path, **given: str | None) -> None:
    """Make a new application in the folder NAME: robust, observed, and tested from the start.

    On a terminal, what is not given is asked for.

    \b
    Example:
      seism new shop --template flask --cache memcached
    """
    from seism.demo.scaffold import Answers, make

    answers: dict[str, Any] = {"name": folder.absolute().name}
    for question in describe(Answers):
        if question.required:
            continue
        answers[question.name] = given[question.name] or _ask(question)
    chosen = build(Answers, answers, "seism new")
    written = make(chosen, folder)
    click.echo(
        f"{folder}: {len(written)} files, for {chosen.template}, {chosen.database}, {chosen.cache}"
    )
    click.echo(
        f"\n  cd {folder}\n  make build test\n  make seism   # each backend slow, broken, gone\n"
    )
    click.echo("README.md has the rest, and says how newer templates are taken over.")


def _ask(question: Any) -> str:
    if not sys.stdin.isatty():
        return str(question.default)
    answer: str = click.prompt(
        question.option.help.capitalize(),
        type=click.Choice(question.option.choices),
        default=question.default,
    )
    return answer
