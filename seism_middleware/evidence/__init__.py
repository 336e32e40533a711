"""How the attribution of a perturbation to a request is known, one module per kind of evidence.

``correlate`` asks them in the order of ``registered``; the first that knows answers, and
``overlap`` where none does.
"""

from __future__ import annotations

from seism_middleware import plugins
from seism_middleware.evidence.base import Case, Evidence, Finding, Sources

BEFORE = {
    "trace": "seism_middleware.evidence.trace:evidence",
    "ledger": "seism_middleware.evidence.claims:ledger",
    "driver": "seism_middleware.evidence.claims:driver",
}
AFTER = {
    "kernel": "seism_middleware.evidence.kernel:evidence",
    "connect": "seism_middleware.evidence.connect:evidence",
}
"""Name -> what makes it of ``Sources``. Those of other packages are asked in between: they know
of connections that are not seen here, and need not look from outside, as ``kernel`` does."""


def registered(sources: Sources) -> dict[str, Evidence]:
    """Every kind, ours and those of other packages, in the order in which they are asked."""
    factories = plugins.plugins(plugins.EVIDENCE, {**BEFORE, **AFTER})
    names = [*BEFORE, *(name for name in factories if name not in (*BEFORE, *AFTER)), *AFTER]
    made = {name: factories[name](sources) for name in names}
    own = (*BEFORE, *AFTER)
    return {
        name: kind if name in own else _Foreign(name, kind)
        for name, kind in made.items()
        if kind is not None
    }


class _Foreign:
    """Another package's kind of evidence: it knows nothing any more once it has failed."""

    def __init__(self, name: str, evidence: Evidence) -> None:
        self._name = name
        self._evidence: Evidence | None = evidence

    def first(self, case: Case) -> Finding | None:
        try:
            return None if self._evidence is None else self._evidence.first(case)
        except Exception:
            self._failed()
            return None

    def further(self, case: Case) -> Finding | None:
        try:
            return None if self._evidence is None else self._evidence.further(case)
        except Exception:
            self._failed()
            return None

    def _failed(self) -> None:
        self._evidence = None
        plugins.complain(f"{plugins.EVIDENCE}: {self._name}")
