from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seism_middleware import contract, wire
from seism_middleware.wire import ContractError, decode, encode, from_dict, to_dict

RECORDS = (*contract.WORKER_RECORDS, *contract.SIDECAR_RECORDS)

st.register_type_strategy(float, st.floats(allow_nan=False, allow_infinity=False))
ANY_RECORD = st.one_of([st.builds(record) for record in RECORDS])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@given(ANY_RECORD, st.none() | st.integers(0, 2**53))
def test_every_record_comes_back(record: Any, number: int | None) -> None:
    line = encode(record, number)
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    assert decode(line) == (record, number)


@given(
    ANY_RECORD | st.builds(contract.PerturbationEnded, at=st.floats()),
    st.none() | st.integers(0, 2**53),
)
def test_a_line_is_what_json_makes_of_the_dictionary(record: Any, number: int | None) -> None:
    """Also where a float is not a number."""
    values = to_dict(record) | ({} if number is None else {"n": number})
    expected = json.dumps(values, separators=(",", ":"), ensure_ascii=True)
    assert encode(record, number).decode() == expected + "\n"


@given(JSON, JSON, JSON)
def test_any_value_is_written_as_json_does(method: Any, route: Any, at: Any) -> None:
    record = contract.RequestBegun("w-1", method, at, route)
    expected = json.dumps(to_dict(record), separators=(",", ":"), ensure_ascii=True)
    assert encode(record).decode() == expected + "\n"


@given(ANY_RECORD, st.dictionaries(st.text(min_size=1).map("x_".__add__), JSON, max_size=3))
def test_unknown_fields_are_ignored(record: Any, more: dict[str, Any]) -> None:
    assert from_dict({**to_dict(record), **more}) == record


@given(JSON)
def test_unknown_kinds_are_ignored(value: Any) -> None:
    assert from_dict({"kind": "from.the.future", "value": value}) is None


@given(st.binary(max_size=200))
def test_bytes_are_a_record_or_a_contract_error(line: bytes) -> None:
    try:
        decode(line)
    except ContractError:
        pass


@given(st.sampled_from(sorted(contract.KINDS)), st.dictionaries(st.text(), JSON), st.data())
def test_json_is_a_record_or_a_contract_error(
    kind: str, values: dict[str, Any], data: st.DataObject
) -> None:
    """Also where the fields are the right ones, and what is in them is not."""
    for field in dataclasses.fields(contract.KINDS[kind]):
        values[field.name] = data.draw(JSON)
    try:
        record, _ = decode(json.dumps({**values, "kind": kind}).encode())
    except ContractError:
        return
    assert type(record) is contract.KINDS[kind]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"kind":[]}',
        b'{"kind":{}}',
        b'{"kind":"hello"}',
        b'{"kind":"hello","worker":"w","pid":1,"interface":"wsgi","clock":3}',
        b'{"kind":"hello","worker":"w","pid":1,"interface":"wsgi","clock":{}}',
        b'{"kind":"welcome","clock":{"domain":"d","now":1},"proxies":{}}',
        b'{"kind":"welcome","clock":{"domain":"d","now":1},"proxies":[1]}',
        b"[" * 60_000,
        b'{"a":' * 12_000,
        b'{"kind":"dropped","count":' + b"9" * 5000 + b"}",
    ],
)
def test_what_is_malformed_is_a_contract_error(line: bytes) -> None:
    with pytest.raises(ContractError):
        decode(line)


def test_what_is_at_its_default_takes_no_room() -> None:
    attribution = contract.Attribution("p-1", "w1-2", "ledger", True)
    assert to_dict(attribution) == {
        "kind": "attribution",
        "perturbation": "p-1",
        "request": "w1-2",
        "evidence": "ledger",
        "exact": True,
    }


def test_processes_of_one_host_share_a_clock() -> None:
    script = "from seism_middleware.wire import clock_domain; print(clock_domain())"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == wire.clock_domain()


def test_the_exchange_of_a_perturbation_comes_back() -> None:
    exchange = contract.PerturbedExchange(3, "GET", "command", trace="0af7651916cd43dd")
    record = contract.PerturbationBegan("p1", "cache", "f", "redis_nil", 1.0, exchange=exchange)
    assert decode(encode(record)) == (record, None)
    values = to_dict(record)
    del values["exchange"]
    assert from_dict(values).exchange is None
