"""The page of all commands, made from the tree that click parses with."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

from seism import cli

WIDTH = 80


def commands() -> str:
    """The whole page."""
    lines = [
        "# Every command",
        "",
        "Made by `python docs/generate.py` from what the program parses with; do not edit.",
        "[The command line](cli.md) shows how the commands are used.",
        "",
        inspect.cleandoc(cli.__doc__ or "").split("\n\n")[2],
        "",
    ]
    for path, command in _all(("seism",), cli.cli):
        with click.Context(command, info_name=path, terminal_width=WIDTH) as context:
            context.help_option_names = ["-h", "--help"]
            lines += [f"## `{path}`", "", "```text", command.get_help(context).rstrip(), "```", ""]
    return "\n".join(lines).rstrip() + "\n"


def _all(path: tuple[str, ...], command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield " ".join(path), command
    if isinstance(command, click.Group):
        for name, each in sorted(command.commands.items()):
            yield from _all((*path, name), each)
