from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from junitparser import Error, Failure, JUnitXml, Skipped
from xmlschema import XMLSchema10, XMLSchemaValidationError

from seism.report.junit import render
from seism.verdict.result import AMBER, GREEN, Judgement
from tests.report import known
from tests.report.test_text import ANYTHING

DATA = Path(__file__).parent.parent / "data"
SCHEMA = XMLSchema10(DATA / "junit" / "junit-10.xsd")
"""That of Jenkins' xUnit plug-in."""


def check(text: str) -> ET.Element:
    """The root of a report that is as SCHEMA says, with counts that are right."""
    root = ET.fromstring(text)
    SCHEMA.validate(text)
    assert root.tag == "testsuites"
    for suite in root:
        for key, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert suite.attrib[key] == str(len(suite.findall(f"testcase/{tag}")))
        assert suite.attrib["tests"] == str(len(suite.findall("testcase")))
        for test in suite.findall("testcase"):
            assert len([c for c in test if c.tag in ("skipped", "error", "failure")]) <= 1
    return root


def results(judgement: Judgement, strict: bool = False) -> dict[tuple[str, str], object]:
    """(class, name) -> the one result of a test case, or None where it passed."""
    found: dict[tuple[str, str], object] = {}
    for suite in JUnitXml.fromstring(render(judgement, strict).encode()):
        for test in suite:
            key = (test.classname, test.name)
            assert key not in found
            found[key] = test.result[0] if test.result else None
    return found


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("name", known.ALL)
def test_every_report_is_valid(name: str, strict: bool) -> None:
    check(render(known.ALL[name], strict))


@given(ANYTHING)
def test_any_text_is_valid_xml(text: str) -> None:
    check(render(known.hostile(text)))


@pytest.mark.parametrize("text", ["<a", "\x00", "&", "\ufffe", "\udc80"])
def test_the_check_refuses_what_is_not_escaped(text: str) -> None:
    with pytest.raises((ET.ParseError, UnicodeError)):
        check(render(known.green()).replace("cache-slow", text))


def test_the_check_refuses_an_unknown_element() -> None:
    with pytest.raises(XMLSchemaValidationError):
        check(render(known.green()).replace("properties", "sections"))


def test_the_check_refuses_a_suite_without_counts() -> None:
    with pytest.raises(XMLSchemaValidationError):
        check(render(known.green()).replace(' errors="0"', ""))


def test_a_green_run_passes() -> None:
    found = results(known.green())
    assert set(found.values()) == {None}
    assert ("seism.cache.cache-reset", "POST /cart") in found
    assert len(found) == len(known.ROUTES) * len(known.PERTURBATIONS) + 5


def test_red_fails_with_its_cause() -> None:
    result = results(known.mixed())["seism.cache.cache-reset", "POST /cart"]
    assert isinstance(result, Failure)
    assert result.message == "red: 500 without an honest 503"
    for part in ("w1-204", "hit by p-12 (exact, evidence: ledger)", "could not read cart",
                 "  at shop/cart.py:41 show"):  # fmt: skip
        assert part in (result.text or "")


def test_amber_passes_with_its_story_unless_strict() -> None:
    judgement = known.mixed()
    key = ("seism.cache.cache-down", "GET /session")
    assert results(judgement)[key] is None
    stories = ET.fromstring(render(judgement)).findall(".//testcase/system-out")
    assert any("503 without Retry-After" in (story.text or "") for story in stories)
    assert isinstance(results(judgement, strict=True)[key], Failure)


def test_what_is_not_covered_is_skipped_with_the_reason() -> None:
    result = results(known.mixed())["seism.database.database-slow", "GET /health"]
    assert isinstance(result, Skipped)
    assert result.message == "uses no backend"


def test_what_is_unsure_is_skipped_with_the_reason() -> None:
    result = results(known.doubtful())["seism.database.database-slow", "GET /session"]
    assert isinstance(result, Skipped)
    assert result.message == "unsure: 4 requests possibly hit, none for certain"


def test_what_could_not_be_judged_is_an_error() -> None:
    assert isinstance(results(known.unsteady())["seism.run", "steady state"], Error)
    found = results(known.gappy())
    assert isinstance(found["seism.database.database-reset", "fired"], Error)
    assert isinstance(found["seism.run", "no observation dropped"], Error)


def test_a_finding_about_a_worker_fails() -> None:
    assert isinstance(results(known.leaking())["seism.run", "workers"], Failure)


def test_a_weakness_is_a_test_case_of_its_own() -> None:
    judgement = known.mixed()
    title = "POST /cart answers 500 when cache resets a connection (ConnectionError)"
    failed = results(judgement)["seism.weaknesses.error", f"{title} [7baccbc5cb0113cd]"]
    assert isinstance(failed, Failure)
    assert "catch `redis.RedisError`" in str(failed.text)
    amber = [name for of, name in results(judgement) if of == "seism.weaknesses.bad 503"]
    assert results(judgement)["seism.weaknesses.bad 503", amber[0]] is None
    assert results(judgement, strict=True)["seism.weaknesses.bad 503", amber[0]] is not None


def test_a_dot_in_a_name_makes_no_package() -> None:
    cell = replace(known.green().cells[0], perturbation="a.b", colour=GREEN)
    judgement = replace(known.green(), perturbations=("a.b",), cells=(cell,), plan=())
    assert ("seism.a_b.a_b", cell.route) in results(judgement)


def test_no_red_file_passes() -> None:
    """A file without failures or errors means exit code 0, and the reverse."""
    for judgement in known.ALL.values():
        for strict in (False, True):
            root = check(render(judgement, strict))
            wrong = int(root.attrib["failures"]) + int(root.attrib["errors"])
            assert bool(wrong) == bool(judgement.exit_code(strict))
    amber = replace(known.green().cells[0], colour=AMBER)
    judgement = replace(known.green(), colour=AMBER, cells=(amber,))
    assert check(render(judgement, strict=True)).attrib["failures"] == "2"


@pytest.mark.parametrize("strict", [False, True])
def test_harm_fails_where_it_is_red(strict: bool) -> None:
    found = results(known.harmed(), strict)
    lost = found["seism.database.database-down", "lost"]
    assert isinstance(lost, Failure)
    assert "1 of the 4 connections of worker w1" in str(lost.message)
    assert found["seism.cache.cache-slow", "crosstalk"] is None
    assert found["seism.cache.cache-slow", "pools"] is None
