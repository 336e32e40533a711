"""Writes docs/reference.md, protocols.md, commands.md, api.md and the JSON schema of seism.toml:
``python docs/generate.py``.

The declarations in the code are what they are made from, and, for what clients make of each
fault, what the test suite has recorded in docs/outcomes. ``--check`` writes nothing and fails
if a file is not what it would write.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import sys
import tempfile
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from of_commands import commands
from of_sidecar import api, asked, metrics

from seism import cli, errors, journal, registry, signals
from seism.experiment import schema
from seism.experiment.config import (
    Action,
    App,
    Backend,
    Chaos,
    Experiment,
    Front,
    Limits,
    Load,
    Locust,
    Mixed,
    Planned,
    Random,
    Route,
    Sweep,
    SweptToxic,
)
from seism.model import ClientTls, Match, ServerTls, ToxicSpec, Which
from seism.options import Described, describe
from seism.protocols import sql
from seism.protocols.fault import Fault
from seism.sidecar.statsd import COUNTERS
from seism.verdict.rules import RouteRules, Rules
from seism_middleware import signals as app_signals
from seism_middleware.metrics import METRICS
from seism_middleware.settings import Settings, help_texts

FOLDER = Path(__file__).parent

TABLES = (
    ("", Experiment),
    ("[app]", App),
    ("[front]", Front),
    ("[[backend]]", Backend),
    ("[[backend.toxic]]", ToxicSpec),
    ("backend.tls", ServerTls),
    ("backend.upstream_tls", ClientTls),
    ("[load]", Load),
    ("[load.locust]", Locust),
    ("[[load.route]]", Route),
    ("load.route.action", Action),
    ("[[perturbation]]", Planned),
    ("[random]", Random),
    ("[[random.mix]]", Mixed),
    ("[limits]", Limits),
    ("[chaos]", Chaos),
    ("[[chaos.mix]]", Mixed),
    ("[sweep]", Sweep),
    ("[[sweep.toxic]]", SweptToxic),
    ("[rules]", Rules),
    ('[rules.route."METHOD /pattern"]', RouteRules),
)


def reference(prometheus: str) -> str:
    """The whole page; ``prometheus`` is what a sidecar answers at ``/metrics``."""
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
    lines += ["", "### StatsD", "", "Below `statsd_prefix` (`seism`):", ""]
    lines += ["| metric | type | what |", "|---|---|---|"]
    lines += [f"| `{each.name}` | {each.type} | {each.help} |" for each in METRICS]
    lines += [
        "",
        "Of standing chaos, by `seism serve` below its own `statsd_prefix`, all counters:",
    ]
    lines += ["", "| metric | what |", "|---|---|"]
    lines += [f"| `{name}` | {what} |" for name, what in COUNTERS]
    lines += ["", "### Signals of the app", "", first_paragraphs(app_signals.__doc__), ""]
    lines += [f"- `{name}`: {text}" for name, text in app_signals.DECLARED.items()]
    lines += ["", "## Toxics", "", "### Every toxic", "", summary(ToxicSpec), ""]
    lines += [*options(ToxicSpec), "", "### `match`", "", summary(Match), "", *options(Match), ""]
    lines += ["### `exchange`", "", summary(Which), "", *options(Which), ""]
    for name, toxic in sorted(registry.load().toxics.items()):
        lines += [f"### `{name}`", "", summary(toxic), "", *options(toxic), ""]
    lines += ["## Exit codes and errors", "", inspect.cleandoc(cli.__doc__ or "").split("\n\n")[2]]
    lines += ["", "```text", *errors_table(), "```", ""]
    lines += [
        "## Metrics",
        "",
        "What `GET /metrics` of a sidecar answers, in Prometheus' format:",
        "",
    ]
    lines += [*metrics(prometheus), "", "## Signals", "", first_paragraphs(signals.__doc__), ""]
    lines += [
        f"- `{name}`: {inspect.getdoc(signal)}"
        for name, signal in vars(signals).items()
        if signal in signals.BY_KIND.values()
    ]
    lines += [""]
    lines += ["## Journal", "", first_paragraphs(journal.__doc__), ""]
    for kind, record in sorted(journal.KINDS.items()):
        lines += [f"### `{kind}`", "", summary(record), "", *fields(record), ""]
    return "\n".join(lines).rstrip() + "\n"


def protocols() -> str:
    """The page of the protocols and their faults."""
    lines = [
        "# Protocols and their faults",
        "",
        "Made by `python docs/generate.py` from the declarations in the code and from what the",
        "test suite has seen; do not edit. [Perturbing single exchanges](exchanges.md) explains",
        "how to use them, [the reference](reference.md#toxics) has all options.",
        "",
    ]
    for name, codec in sorted(registry.load().protocols.items()):
        lines += [f"## `{name}`", ""]
        lines += [inspect.cleandoc(sys.modules[codec.__module__].__doc__ or ""), ""]
        lines += ["Conditions of `exchange`, beside those of every protocol:", ""]
        lines += [f"- `{key}`: {text}" for key, text in codec.matches.items()]
        lines += ["", "Phases:", ""]
        lines += [f"- `{phase}`: {text}" for phase, text in codec.phases.items()]
        lines += ["", "When a server sends each fault, and how long that lasts:", ""]
        lines += ["| toxic | code | when | at | lasts | source |", "|---|---|---|---|---|---|"]
        faults = [fault for fault in codec.faults if issubclass(fault, Fault)]
        for fault in sorted(faults, key=lambda each: each.type):
            meaning = inspect.cleandoc(fault.__doc__ or "").partition("\n\n")[0].replace("\n", " ")
            source = (
                f"[manual]({fault.source})" if fault.source.startswith("http") else fault.source
            )
            lines.append(
                f"| `{fault.type}` | {fault.code} | {meaning} | {_place(fault)} | "
                f"{'a state' if fault.lasts else 'one exchange'} | {source} |"
            )
        if codec.last_words:
            words = ", ".join(codec.last_words)
            lines += ["", f"Last words to an idle connection ([`goodbye`](toxics.md)): {words}."]
        lines += ["", *outcomes(name), ""]
    return "\n".join(lines).rstrip() + "\n"


def _place(fault: type[Fault]) -> str:
    """Which exchanges can meet it: their phases, and the kinds where it has a list of them."""
    if "regex" in fault.swept_where:
        locks = fault.swept_where["regex"] == sql.LOCKS_ROWS["regex"]
        return "statements that lock rows" if locks else "statements that write"
    kinds = getattr(fault, "kinds", ())
    if kinds:
        return ", ".join(sorted(kinds))
    if getattr(fault, "writes", False):
        return "commands that write"
    if fault.opens():
        return "the beginning of a connection"
    return ", ".join(fault.phases) or "any phase"


def outcomes(protocol: str) -> Iterator[str]:
    """What clients have made of each fault; equal rows of several clients are one."""
    path = FOLDER / "outcomes" / f"{protocol}.json"
    if not path.exists():
        return
    yield "What a program sees, as the test suite has seen it with real servers and clients:"
    yield ""
    yield "| toxic | client | it raises, or gets | for the server's own error | after it |"
    yield "|---|---|---|---|---|"
    for fault, clients in json.loads(path.read_text(encoding="utf-8")).items():
        alike: dict[tuple[str, ...], list[str]] = {}
        for client, row in clients.items():
            alike.setdefault((row["raises"], row["real"], row["after"]), []).append(client)
        for (raises, real, after), names in alike.items():
            own = "the same" if real == raises else f"`{real}`" if real else "not provoked"
            shown = "; ".join(names)
            yield f"| `{fault}` | {shown} | `{raises}` | {own} | {after} |"


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
    with tempfile.TemporaryDirectory() as folder:
        document, prometheus = asked(Path(folder))
    made = {
        FOLDER / "reference.md": reference(prometheus),
        FOLDER / "api.md": api(document),
        FOLDER / "commands.md": commands(),
        FOLDER / "protocols.md": protocols(),
        schema.FILE: json.dumps(schema.document(), indent=2, sort_keys=True) + "\n",
    }
    for target, text in made.items():
        if "--check" not in sys.argv[1:]:
            target.write_text(text, encoding="utf-8")
        elif not target.exists() or target.read_text(encoding="utf-8") != text:
            sys.exit(f"{target.name} is not up to date: python docs/generate.py")


if __name__ == "__main__":
    main()
