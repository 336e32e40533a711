"""What clients make of each fault: checked against a file, from which docs/protocols.md is made.

``docs/outcomes/<protocol>.json`` holds what the suite has seen. A test that sees
something else fails; with ``SEISM_RECORD=1`` it writes what it sees.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent.parent / "docs" / "outcomes"
RECORDING = os.environ.get("SEISM_RECORD", "") not in ("", "0")


def seen(error: BaseException | None, value: Any = None) -> str:
    """An exception by its module, class and what a program can ask it for; or a value."""
    if error is None:
        return repr(value)
    module = type(error).__module__.partition(".")[0]
    name = type(error).__name__
    return name if module == "builtins" else f"{module}.{name}"


def check(protocol: str, fault: str, client: str, *, raises: str, after: str, real: str) -> None:
    """One row: ``raises`` as ``seen`` has it, ``after`` says what the connection is good for.

    ``real`` is what the client raises for the server's own error, or empty where that
    could not be provoked.
    """
    path = FOLDER / f"{protocol}.json"
    rows = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    row = {"raises": raises, "after": after, "real": real}
    if RECORDING:
        rows.setdefault(fault, {})[client] = row
        ordered = {name: dict(sorted(rows[name].items())) for name in sorted(rows)}
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")
        return
    assert rows.get(fault, {}).get(client) == row, (
        f"{path.name} has another outcome of {fault} with {client}; if this one is right, run "
        "the test with SEISM_RECORD=1, then python docs/generate.py"
    )
