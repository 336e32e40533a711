"""The records themselves."""

from __future__ import annotations

from seism_middleware import contract


def test_kinds_are_unique() -> None:
    records = (*contract.WORKER_RECORDS, *contract.SIDECAR_RECORDS)
    assert len(contract.KINDS) == len(records)


def test_a_request_names_its_worker() -> None:
    assert contract.worker_of("0af76519-12") == "0af76519"
    assert contract.worker_of("front-db-7") == "front-db"
