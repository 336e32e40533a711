from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seism.proxy.perturbation import trace_of

ID = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{ID}-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    ("text", "trace"),
    [
        (f"GET / HTTP/1.1\r\nTraceparent: {PARENT}\r\n\r\n", ID),
        (f"select 1 /*traceparent='{PARENT}'*/", ID),
        (f'{{"traceparent": "{PARENT}"}}', ID),
        (f"traceparent: {PARENT}\r\ntraceparent: {PARENT}", ID),
        (f"traceparent: {PARENT}\r\ntraceparent: {PARENT.replace('0af', '1af')}", ""),
        (f"tracestate: {PARENT}", ""),
        (f"traceparent: {PARENT[:-4]}", ""),
    ],
)
def test_one_trace_or_none(text: str, trace: str) -> None:
    assert trace_of(text.encode()) == trace


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_whatever_is_around_it(before: bytes, after: bytes) -> None:
    line = f"traceparent: {PARENT}\r\n".encode()
    assert trace_of(before + line + after) == ID
    assert trace_of(before) == ""
