"""The JSON schema of ``seism.toml``, for editors, from the declarations.

``seism.schema.json`` beside this file is what ``document`` gives; ``docs/generate.py``
writes it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seism.experiment.config import Experiment
from seism.schema import Schema, of

FILE = Path(__file__).with_name("seism.schema.json")


def document() -> dict[str, Any]:
    """A schema of 2020-12 for what ``config.load`` reads."""
    definitions: dict[str, Schema] = {}
    root = of(Experiment, definitions)
    for schema in definitions.values():
        schema["additionalProperties"] = False
    # A command in one string is split as a shell does it.
    command = definitions["App"]["properties"]["command"]
    definitions["App"]["properties"]["command"] = {"anyOf": [command, {"type": "string"}]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "seism.toml",
        **root,
        "components": {"schemas": definitions},
    }
