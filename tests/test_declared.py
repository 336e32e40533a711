"""What any toxic can have is declared once, by ``ToxicSpec``."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import click.testing
import pytest

import seism
from seism.commands.toxic import add
from seism.experiment import schema
from seism.experiment.perturbation import Mixed, Planned, SweptToxic, toxic_of
from seism.model import ToxicSpec
from seism.options import as_json, describe, names, option
from seism.sidecar.control import toxiproxy
from tests.processes import ROOT

KEYS = list(describe(ToxicSpec))
SOURCE = Path(seism.__file__).parent
ENOUGH = 4
"""So many of the names together are a list of them."""


@pytest.mark.parametrize("table", [Planned, Mixed, SweptToxic])
def test_every_table_takes_them(table: type[ToxicSpec]) -> None:
    assert set(names(ToxicSpec)) <= set(names(table))


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_schema_help_and_reference_have_them(key: object) -> None:
    assert dataclasses.is_dataclass(key)
    name: str = key.name  # type: ignore[attr-defined]
    definitions = schema.document()["components"]["schemas"]
    for table in ("Planned", "Mixed", "SweptToxic", "ToxicSpec"):
        assert name in definitions[table]["properties"]
    told = click.testing.CliRunner().invoke(add, ["--help"]).output
    assert {"attributes": "key=value"}.get(name, name) in told.lower()
    reference = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    section = reference.partition("### Every toxic")[2].partition("### `match`")[0]
    assert f"`{name}`" in section


def test_a_planned_toxic_keeps_what_it_was_given() -> None:
    planned = Planned("a/b", "db", "latency", toxicity=0.5, connections=3, turn=2)
    assert toxic_of(planned) == ToxicSpec("latency", "a|b", "upstream", 0.5, connections=3, turn=2)


def test_a_new_key_is_taken_and_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclasses.dataclass(frozen=True, slots=True)
    class More(ToxicSpec):
        luck: int = option(0, help="new", minimum=0, maximum=9, addition=True)

    monkeypatch.setattr(toxiproxy, "ToxicSpec", More)
    warnings = toxiproxy.Warnings()
    given = toxiproxy._fields({"LUCK": 3, "lack": 1}, names(More), warnings)
    assert given == {"luck": 3}
    (warning,) = warnings
    assert "unknown field 'lack'" in warning and "'luck'" in warning
    assert as_json(More("noop", luck=3))["luck"] == 3
    assert "luck" not in as_json(More("noop"))


def _names_in(node: ast.AST) -> Iterator[str]:
    """The names that a literal or a signature lists."""
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        items = node.elts
    elif isinstance(node, ast.Dict):
        items = [key for key in node.keys if key is not None]
    elif isinstance(node, ast.FunctionDef):
        yield from (each.arg for each in (*node.args.args, *node.args.kwonlyargs))
        return
    elif isinstance(node, ast.ClassDef):
        yield from (
            each.target.id
            for each in node.body
            if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
        )
        return
    elif isinstance(node, ast.Call):
        yield from (each.arg for each in node.keywords if each.arg)
        return
    else:
        return
    yield from (str(each.value) for each in items if isinstance(each, ast.Constant))


def test_there_is_no_second_list() -> None:
    common = set(names(ToxicSpec)) - {"name", "type"}
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            listed = common & set(_names_in(node))
            if len(listed) >= ENOUGH:
                found.append(f"{path.relative_to(SOURCE)}:{getattr(node, 'lineno', 0)}: {listed}")
    assert [each for each in found if not each.startswith("model.py:")] == []
    assert any(each.startswith("model.py:") for each in found)
