"""The observer's benchmark: the part that is quick."""

from __future__ import annotations

from bench.middleware import IMPORTED, importing, table


def test_an_import_is_measured_beside_an_empty_interpreter() -> None:
    found = importing(rounds=2)
    assert len(found) == len(IMPORTED) == len(list(table(found))) - 2
    for each in found.values():
        # Processor time of two real processes; more modules are never less of it.
        assert each["bare"]["least"] > 0
    *_, whole = found.values()
    assert whole["with"]["least"] > whole["bare"]["least"]
