"""Writes docs/reference.md and the JSON schema of seism.toml from the declarations:
``python docs/generate.py``.

``--check`` writes nothing and fails if the file is not what it would write.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from seism import errors, journal, registry
from seism.experiment import schema
from seism.experiment.config import (
    App,
    Backend,
    Chaos,
    Experiment,
    Load,
    Mixed,
    Planned,
    Route,
    Sweep,
    SweptToxic,
)
from seism.model import ClientTls, Match, ServerTls, ToxicSpec
from seism.options import Described, describe
from seism.rules import RouteRules, Rules
from seism_middleware.settings import Settings, help_texts

TARGET = Path(__file__).parent / "reference.md"

TABLES = (
    ("", Experiment),
    ("[app]", App),
    ("[[backend]]", Backend),
    ("[[backend.toxic]]", ToxicSpec),
    ("backend.tls", ServerTls),
    ("backend.upstream_tls", ClientTls),
    ("[load]", Load),
    ("[[load.route]]", Route),
    ("[[perturbation]]", Planned),
    ("[chaos]", Chaos),
    ("[[chaos.mix]]", Mixed),
    ("[sweep]", Sweep),
    ("[[sweep.toxic]]", SweptToxic),
    ("[rules]", Rules),
    ('[rules.route."METHOD /pattern"]', RouteRules),
)


def reference() -> str:
    """The whole page."""
    lines = [
        "# Reference",
        "",
        "Made by `python docs/generate.py` from the declarations in the code; do not edit.",
        "",
        "## seism.toml",
        "",
        first_paragraphs(sys.modules[Experiment.__module__].__doc__),
        "",
    ]
    for title, cls in TABLES:
        lines += [f"### `{title}`" if title else "### Top level", "", *options(cls), ""]
    lines += ["## The middleware", "", summary(Settings), ""]
    lines += [
        "The same options for every wrapper, PasteDeploy's filter, Pyramid (`seism.sidecar`),"
    ]
    lines += ['Flask (`SEISM_SIDECAR`) and Django (`SEISM = {"sidecar": ...}`).', ""]
    lines += [f"- `{name}`: {text}" for name, text in help_texts().items()]
    lines += ["", "## Toxics", "", "### Every toxic", "", summary(ToxicSpec), ""]
    lines += [*options(ToxicSpec), "", "### `match`", "", summary(Match), "", *options(Match), ""]
    for name, toxic in sorted(registry.load().toxics.items()):
        lines += [f"### `{name}`", "", summary(toxic), "", *options(toxic), ""]
    lines += ["## Exit codes and errors", "", "```", *errors_table(), "```", ""]
    lines += ["## Journal", "", first_paragraphs(journal.__doc__), ""]
    for kind, record in sorted(journal.KINDS.items()):
        lines += [f"### `{kind}`", "", summary(record), "", *fields(record), ""]
    return "\n".join(lines).rstrip() + "\n"


def options(cls: type[Any]) -> Iterator[str]:
    """A table of the declared keys of ``cls``."""
    rows = list(describe(cls))
    if not rows:
        return
    yield "| key | type | default | allowed | meaning |"
    yield "|---|---|---|---|---|"
    for row in rows:
        yield "| " + " | ".join(cells(row)) + " |"


def cells(row: Described) -> tuple[str, ...]:
    unit = row.option.unit
    unit = f" ({unit})" if unit and unit not in row.option.allowed.split() else ""
    if row.required:
        default = "required"
    else:
        default = "" if row.default in (None, "", (), {}) else f"`{json.dumps(row.default)}`"
    kind = re.sub(r"\bseism\.([a-z]+\.)+", "", row.type).replace("|", "or")
    return f"`{row.name}`", kind, default, row.option.allowed, row.option.help + unit


def fields(record: type[Any]) -> Iterator[str]:
    """A list of the fields of a record."""
    hints = typing.get_type_hints(record)
    for field in dataclasses.fields(record):
        kind = (
            getattr(hints[field.name], "__name__", "")
            if not typing.get_origin(hints[field.name])
            else str(hints[field.name])
        )
        kind = kind.replace("seism_middleware.contract.", "").replace("typing.", "")
        yield f"- `{field.name}`: {kind}"


def summary(cls: type[Any]) -> str:
    return " ".join(inspect.cleandoc(cls.__doc__ or "").split())


def first_paragraphs(text: str | None) -> str:
    return inspect.cleandoc(text or "").partition("\n\n")[2]


def errors_table() -> list[str]:
    text = inspect.cleandoc(errors.__doc__ or "")
    return inspect.cleandoc(text.partition("::\n\n")[2].partition("\n\n")[0]).splitlines()


def main() -> None:
    made = {
        TARGET: reference(),
        schema.FILE: json.dumps(schema.document(), indent=2, sort_keys=True) + "\n",
    }
    for target, text in made.items():
        if "--check" not in sys.argv[1:]:
            target.write_text(text, encoding="utf-8")
        elif not target.is_file() or target.read_text(encoding="utf-8") != text:
            sys.exit(f"{target.name} is not up to date: python docs/generate.py")


if __name__ == "__main__":
    main()
