"""``junit.xml``: one test case per route and perturbation, and one per weakness, for CI servers.

Jenkins splits ``classname`` at its last dot into package and class, so a class name
``seism.<backend>.<perturbation>`` groups by backend, then perturbation, then route.
The elements and attributes are those of the schema of Jenkins' xUnit plugin, which
other servers read as well.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable

from seism.report.diagnosis import ACCEPTED, diagnoses
from seism.report.notice import (
    COVERED,
    DIAGNOSIS,
    DROPPED,
    ERROR,
    FINDING,
    FIRED,
    REMARK,
    STEADY,
    SURVIVED,
    UNPLACED,
    Notice,
    notices,
)
from seism.report.summary import answer, backend, cause, connections, reason, recovery, story
from seism.report.text import clean, count, seconds
from seism.verdict.result import AMBER, RED, UNJUDGED, UNSURE, Cell, Judgement

CASES = {
    STEADY: "steady state",
    FINDING: "workers",
    FIRED: "fired",
    DROPPED: "no observation dropped",
    UNPLACED: "everything in a cell",
    COVERED: "something judged",
    DIAGNOSIS: "diagnosis",
    REMARK: "warnings",
    SURVIVED: "survived",
}
"""Kind of a notice -> its test case; each kind of harm is one of its own."""
ALWAYS = tuple(CASES[kind] for kind in (STEADY, DROPPED, COVERED, UNPLACED, FINDING))
"""Test cases of every run."""
NO_VERDICT = (STEADY, FIRED, DROPPED, COVERED, UNPLACED)
"""Titles reported as an error, not a failure: these leave the app unjudged."""
LINES = (STEADY, FIRED, DROPPED, UNPLACED)
"""Notices shown with their title, which the test case does not have."""


def render(judgement: Judgement, strict: bool = False) -> str:
    """The document; ``strict`` makes amber a failure."""
    root = ET.Element("testsuites", name="seism")
    found = notices(judgement, strict)
    run = ET.SubElement(root, "testsuite", name="run")
    properties = ET.SubElement(run, "properties")
    ET.SubElement(properties, "property", name="seed", value=str(judgement.seed))
    new = {
        (cell.route, cell.perturbation)
        for each in diagnoses(judgement)
        if each.state != ACCEPTED
        for cell in each.weakness.cells
    }
    of_run = [each for each in found if each.perturbation not in judgement.perturbations]
    _notices(run, "seism.run", of_run, ALWAYS)
    for name in judgement.perturbations:
        suite = ET.SubElement(root, "testsuite", name=clean(name))
        group = f"seism.{_class(backend(judgement, name))}.{_class(name)}"
        for cell in judgement.cells:
            if cell.perturbation == name:
                is_new = (cell.route, name) in new
                _cell(_case(suite, group, cell.route), cell, strict, is_new)
        _notices(suite, group, [each for each in found if each.perturbation == name])
        pools = [connections(pool) for pool in judgement.pools if pool.perturbation == name]
        if pools:
            _say(_case(suite, group, "pools"), pools)
    _weaknesses(root, judgement, strict)
    for suite in root:
        _count(suite)
    for key in ("tests", "failures", "errors"):
        root.set(key, str(sum(int(suite.attrib[key]) for suite in root)))
    ET.indent(root)
    document = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{document}\n'


def _weaknesses(root: ET.Element, judgement: Judgement, strict: bool) -> None:
    """A suite with one test case for each thing to fix."""
    found = diagnoses(judgement)
    if not found:
        return
    suite = ET.SubElement(root, "testsuite", name="weaknesses")
    for each in found:
        name = f"{each.title[:250]} [{each.fingerprint}]"
        case = _case(suite, f"seism.weaknesses.{_class(each.weakness.kind)}", name)
        lines = [f"{each.colour}, {each.label}", *each.lines()]
        if each.is_failure(strict):
            _wrong(case, "failure", f"{each.colour}: {each.title}", lines)
        else:
            _say(case, lines)


def _notices(
    suite: ET.Element, group: str, found: Iterable[Notice], always: Iterable[str] = ()
) -> None:
    """One test case for each title, and one for each of ``always``, which may pass."""
    cases: dict[str, list[Notice]] = {name: [] for name in always}
    for notice in found:
        cases.setdefault(CASES.get(notice.kind, notice.title), []).append(notice)
    for name, those in cases.items():
        case = _case(suite, group, name)
        lines = [notice.line if notice.kind in LINES else notice.text for notice in those]
        if any(notice.level == ERROR for notice in those):
            tag = "error" if those[0].kind in NO_VERDICT else "failure"
            _wrong(case, tag, lines[0], lines)
        elif lines:
            _say(case, lines)


def _cell(case: ET.Element, cell: Cell, strict: bool, is_new: bool) -> None:
    """``is_new``: a weakness that no baseline accepts shows in it."""
    if cell.colour in UNJUDGED:
        ET.SubElement(case, "skipped", message=_skipped(cell))
    elif is_new and (cell.colour == RED or (strict and cell.colour == AMBER)):
        _wrong(case, "failure", f"{cell.colour}: {reason(cell)}", _story(cell))
    elif cell.colour in (AMBER, RED):
        _say(case, [cell.colour, *_story(cell)])
    elif recovery(cell):
        _say(case, [recovery(cell)])


def _skipped(cell: Cell) -> str:
    why = reason(cell)
    return f"{UNSURE}: {why}" if cell.colour == UNSURE else why or cell.colour


def _story(cell: Cell) -> list[str]:
    """The cause, for a person who has only this file."""
    lines = [clean(text) for text in cell.reasons]
    lines.append(
        f"{count(cell.requests, 'request')}: {cell.exact} attributed exactly, "
        f"{cell.possible} possibly"
    )
    if recovery(cell):
        lines.append(recovery(cell))
    worst = cell.worst
    if worst is None:
        return lines
    took = f"{answer(worst)} after {seconds(worst.duration)}"
    lines.append(f"worst: request {clean(worst.request)}, {clean(worst.phase)}, {took}")
    if worst.reason:
        lines.append(f"reason: {clean(worst.reason)}")
    lines.append(cause(worst))
    return lines + story(worst)


def _case(suite: ET.Element, classname: str, name: str) -> ET.Element:
    return ET.SubElement(suite, "testcase", classname=classname, name=clean(name))


def _wrong(case: ET.Element, tag: str, message: str, lines: list[str] | None = None) -> None:
    element = ET.SubElement(case, tag, message=message, type="seism")
    element.text = "\n".join(lines or [message])


def _say(case: ET.Element, lines: Iterable[str]) -> None:
    ET.SubElement(case, "system-out").text = "\n".join(lines)


def _class(name: str) -> str:
    """A part of a class name: a dot would be taken for a package."""
    return clean(name).replace(".", "_")


def _count(suite: ET.Element) -> None:
    suite.set("tests", str(len(suite.findall("testcase"))))
    for key, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(key, str(len(suite.findall(f"testcase/{tag}"))))
