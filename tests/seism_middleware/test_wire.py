from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import types
import typing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seism_middleware import contract, wire
from seism_middleware.wire import ContractError, decode, encode, from_dict, to_dict

RECORDS = (*contract.WORKER_RECORDS, *contract.SIDECAR_RECORDS)

st.register_type_strategy(float, st.floats(-wire.MAX_NUMBER, wire.MAX_NUMBER))
st.register_type_strategy(int, st.integers(-wire.MAX_WHOLE, wire.MAX_WHOLE))
ANY_RECORD = st.one_of([st.builds(record) for record in RECORDS])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@given(ANY_RECORD, st.none() | st.integers(1, wire.MAX_WHOLE))
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


WRONG: tuple[Any, ...] = (
    None, True, -1, 1.5, float("nan"), float("inf"), 1e300, 10**400, "x", [], [1], ["x"], [None],
    {}, {"a": 1}, [{}], [[]],
)  # fmt: skip
TYPES = {str: str, float: (int, float), int: int, bool: bool}


def holds(value: Any, hint: Any) -> bool:
    """Whether ``value`` is what the field's declaration says, and can be written as JSON."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:
        return any(holds(value, each) for each in arguments)
    if origin is tuple:
        return isinstance(value, tuple) and all(holds(each, arguments[0]) for each in value)
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        return isinstance(value, hint) and all(
            holds(getattr(value, field.name), hints[field.name])
            for field in dataclasses.fields(hint)
        )
    if hint is type(None):
        return value is None
    if isinstance(value, bool) and hint is not bool:
        return False
    return isinstance(value, TYPES[hint]) and (
        not isinstance(value, float) or abs(value) <= wire.MAX_NUMBER
    )


@pytest.mark.parametrize("cls", RECORDS, ids=lambda cls: cls.kind)
def test_no_field_of_any_record_holds_another_type(cls: Any) -> None:
    """Whatever is sent for it: the record is right, or the sender is to blame."""
    good = dict.fromkeys(("worker", "interface", "request", "method", "route", "body"), "x")
    good |= {"pid": 1, "clock": {"domain": "x", "now": 1.0}, "at": 1.0, "began": 1.0}
    good |= {"duration": 0.1, "status": 200, "perturbation": "p", "evidence": "ledger"}
    good |= {"exact": True, "what": "abandoned", "clients": [], "census": "c", "rss": 1}
    good |= {"name": "app.consume", "exception": "OSError"}
    good |= {"count": 1, "proxy": "p", "toxic": "t", "type": "latency", "outcome": "passed"}
    values = {field.name: good[field.name] for field in dataclasses.fields(cls)
              if field.name in good}  # fmt: skip
    hints = typing.get_type_hints(cls)
    whole = from_dict({"kind": cls.kind, **values})
    assert isinstance(whole, cls)
    refused = 0
    for field in dataclasses.fields(cls):
        for wrong in WRONG:
            try:
                record = from_dict({"kind": cls.kind, **values, field.name: wrong})
            except ContractError as error:
                refused += 1
                assert "\n" not in str(error)
                continue
            assert holds(getattr(record, field.name), hints[field.name]), (field.name, wrong)
    assert refused or not dataclasses.fields(cls)


@pytest.mark.parametrize("number", [0, -1, 1.5, True, "1", 10**400, [1]])
def test_a_records_number_is_one(number: Any) -> None:
    with pytest.raises(ContractError, match="n: expected a whole number"):
        decode(json.dumps({"kind": "goodbye", "n": number}).encode())


def test_a_lone_surrogate_does_not_get_in() -> None:
    begun = from_dict({"kind": "request.begun", "request": "a\ud800", "method": "G", "at": 1})
    assert begun.request == "a?"
