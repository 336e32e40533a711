"""Every codec works in proportion to its input, in every state, armed and not."""

from __future__ import annotations

import importlib
import pkgutil
import re
from typing import Any

import pytest

import seism.protocols
from seism import registry
from seism.protocols import sql
from tests.protocols.hostile import HOSTILE, Make, cases, dripped
from tests.protocols.patterns import ambiguous
from tests.protocols.work import work
from tests.work import CountedArray

SIZE = 1_000
RATIO = 2.2
SLACK = 100
"""For what happens once, such as another look at a length."""
CODECS = registry.load().protocols
CASES = [pytest.param(*case, id=f"{case[0]}-{case[1]}") for case in cases()]


def cost(protocol: str, turns: Any, *, detail: bool, skipped: int) -> int:
    codec = CODECS[protocol]()
    codec.detail = detail
    return work(codec, turns, skipped)


def test_every_protocol_has_hostile_inputs() -> None:
    assert set(HOSTILE) == {name for name in CODECS if CODECS[name].__module__.startswith("seism.")}


@pytest.mark.parametrize(("protocol", "name", "make"), CASES)
def test_twice_the_input_is_twice_the_work(protocol: str, name: str, make: Make) -> None:
    once, twice = make(SIZE), make(2 * SIZE)
    for detail in (False, True):
        for skipped in (0, 2):
            first = cost(protocol, once, detail=detail, skipped=skipped)
            second = cost(protocol, twice, detail=detail, skipped=skipped)
            assert second <= RATIO * first + SLACK, (first, second, detail, skipped)


@pytest.mark.parametrize(("protocol", "name", "make"), CASES)
def test_so_it_is_byte_by_byte(protocol: str, name: str, make: Make) -> None:
    first, second = (
        cost(protocol, dripped(make(size)), detail=True, skipped=0) for size in (SIZE, 2 * SIZE)
    )
    assert second <= RATIO * first + SLACK, (first, second)


PATTERNS = [
    pytest.param(value, id=f"{module.name}.{name}")
    for module in pkgutil.iter_modules(seism.protocols.__path__)
    for name, value in vars(importlib.import_module(f"seism.protocols.{module.name}")).items()
    if isinstance(value, re.Pattern)
]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_no_pattern_can_try_bytes_in_two_ways(pattern: re.Pattern[Any]) -> None:
    assert ambiguous(pattern) == []


@pytest.mark.parametrize("text", [r"a:[ \t]*([\t -~]*)\r", r"(a+)+$", r"[a-z]*a", r"(?:a|ab*)*c"])
def test_a_pattern_that_can_is_found(text: str) -> None:
    assert ambiguous(re.compile(text))
    assert ambiguous(re.compile(text.encode()))


class Quadratic(CODECS["redis"]):  # type: ignore[name-defined,misc]
    """Copies all that it holds for each chunk."""

    def receive(self, stream: str, data: bytes) -> Any:
        buffer = self._cutters[stream].buffer
        assert isinstance(buffer, CountedArray)
        bytes(buffer)
        return super().receive(stream, data)


def test_a_codec_that_copies_again_and_again_is_found() -> None:
    line = HOSTILE["redis"]["a line that does not end"]
    once, twice = (work(Quadratic(), dripped(line(size))) for size in (SIZE, 2 * SIZE))
    assert twice > RATIO * once


@pytest.mark.parametrize("dialect", [sql.POSTGRESQL, sql.MYSQL])
@pytest.mark.parametrize("name", [name for name in HOSTILE["mysql"] if "quotes" in name])
def test_a_quote_begins_a_token_of_its_own(dialect: re.Pattern[str], name: str) -> None:
    for quote in ("'", '"') if dialect is sql.MYSQL else ("'",):
        for text in (quote + f"\\{quote}" * 50 + "\\", f"{quote * 2}" * 50 + quote, quote + "a\\"):
            for token in dialect.finditer(text):
                assert token[0][0] != quote or token.lastgroup == "value"
