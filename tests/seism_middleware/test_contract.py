"""The records themselves."""

from __future__ import annotations

import pytest

from seism_middleware import contract


def test_kinds_are_unique() -> None:
    records = (*contract.WORKER_RECORDS, *contract.SIDECAR_RECORDS)
    assert len(contract.KINDS) == len(records)


def test_a_request_names_its_worker() -> None:
    assert contract.worker_of("0af76519-12") == "0af76519"
    assert contract.worker_of("front-db-7") == "front-db"


TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("text", "trace"),
    [
        (f"00-{TRACE}-{PARENT}-01", TRACE),
        (f" 00-{TRACE}-{PARENT}-00 ", TRACE),
        (f"cc-{TRACE}-{PARENT}-01-what-comes-later", TRACE),
        (f"00-{TRACE}-{PARENT}-01-what-comes-later", ""),
        (f"ff-{TRACE}-{PARENT}-01", ""),
        (f"00-{'0' * 32}-{PARENT}-01", ""),
        (f"00-{TRACE}-{'0' * 16}-01", ""),
        (f"00-{TRACE.upper()}-{PARENT}-01", ""),
        (f"00-{TRACE}-{PARENT}", ""),
        (f"00-{TRACE}-{PARENT}-0", ""),
        ("", ""),
    ],
)
def test_the_trace_of_a_traceparent(text: str, trace: str) -> None:
    """https://www.w3.org/TR/trace-context/, 3.2.2 and 4.3"""
    assert contract.trace_of(text) == trace
