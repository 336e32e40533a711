"""``seism import``: other tools' files as a ``seism.toml``."""

from __future__ import annotations

from pathlib import Path

import click

from seism.commands.experiment import EXISTING_FILE
from seism.errors import Conflict, Unavailable


@click.command("import")
@click.argument("file", type=EXISTING_FILE)
@click.option("--output", type=EXISTING_FILE, help="Where it goes.  [default: it is printed]")
@click.option("--force", is_flag=True, help="Write over a file that is there.")
def import_(file: Path, output: Path | None, force: bool) -> int:
    """Make a seism.toml of FILE: a Chaos Toolkit experiment, or Toxiproxy's configuration.

    Experiments may be JSON or YAML, with the Toxiproxy extension's actions. What has no place
    in a seism.toml is told, one line each; the file has these lines as comments, too.
    """
    from seism.experiment import chaostoolkit, toml, toxiproxy

    content = chaostoolkit.read(file)
    if isinstance(content, list):
        backends = toxiproxy.read(file.read_text(encoding="utf-8"), file)
        imported = chaostoolkit.Imported({"version": 1, "backend": [each for _, each in backends]})
        imported.notes.append("load: Toxiproxy has none: a [[load.route]] is needed")
    else:
        imported = chaostoolkit.translate(content, str(file))
    head = chaostoolkit.comments(imported, (f"From {file.name}", imported.title))
    text = f"{head}\n{toml.write(imported.document)}"
    if output is None:
        click.echo(text, nl=False)
    elif output.exists() and not force:
        raise Conflict(f"{output} is there already: --force writes over it")
    else:
        try:
            output.write_text(text, encoding="utf-8")
        except OSError as error:
            raise Unavailable(f"{output}: {error.strerror}") from None
    for note in imported.notes:
        click.echo(f"{file}: {note}", err=True)
    return 0
