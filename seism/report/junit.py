"""``junit.xml``: one test case per route and perturbation, for CI servers.

Jenkins splits ``classname`` at its last dot into package and class, so a class name
``seism.<backend>.<perturbation>`` groups by backend, then perturbation, then route.
The elements and attributes are those of the schema of Jenkins' xUnit plugin, which
other servers read as well.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET

from seism.report.summary import answer, backend, cause, reason, recovered, story, told
from seism.report.text import clean, count, seconds
from seism.verdict.result import AMBER, NOT_COVERED, RED, Cell, HarmFinding, Judgement


def render(judgement: Judgement, strict: bool = False) -> str:
    """The document; ``strict`` makes amber a failure."""
    root = ET.Element("testsuites", name="seism")
    _run(ET.SubElement(root, "testsuite", name="run"), judgement)
    for name in judgement.perturbations:
        suite = ET.SubElement(root, "testsuite", name=clean(name))
        group = f"seism.{_class(backend(judgement, name))}.{_class(name)}"
        for cell in judgement.cells:
            if cell.perturbation == name:
                _cell(_case(suite, group, cell.route), cell, strict)
        _harms(suite, group, judgement, name, strict)
        if name in judgement.never_fired:
            _wrong(_case(suite, group, "fired"), "error", "never fired: it had no effect at all")
    for suite in root:
        _count(suite)
    for key in ("tests", "failures", "errors"):
        root.set(key, str(sum(int(suite.attrib[key]) for suite in root)))
    ET.indent(root)
    document = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{document}\n'


def _run(suite: ET.Element, judgement: Judgement) -> None:
    """What concerns the run as a whole."""
    properties = ET.SubElement(suite, "properties")
    ET.SubElement(properties, "property", name="seed", value=str(judgement.seed))
    steady = _case(suite, "seism.run", "steady state")
    if not judgement.steady.met:
        _wrong(steady, "error", f"steady state not met: {clean(judgement.steady.reason)}")
    for name in judgement.never_fired:
        if name not in judgement.perturbations:
            _wrong(_case(suite, "seism.run", f"{name} fired"), "error", "never fired")
    dropped = _case(suite, "seism.run", "no observation dropped")
    if judgement.dropped:
        _wrong(dropped, "error", f"{count(judgement.dropped, 'observation')} dropped")
    judged = _case(suite, "seism.run", "something judged")
    if judgement.steady.met and judgement.colour == NOT_COVERED:
        _wrong(judged, "error", "no perturbation touched any route")
    placed = _case(suite, "seism.run", "everything in a cell")
    for line in judgement.unplaced[:1]:
        _wrong(placed, "error", f"an error of Seism: {clean(line)}")
    workers = _case(suite, "seism.run", "workers")
    if judgement.findings:
        lines = [clean(finding) for finding in judgement.findings]
        _wrong(workers, "failure", lines[0], lines)
    if judgement.warnings:
        lines = [f"warning: {clean(warning)}" for warning in judgement.warnings]
        ET.SubElement(steady, "system-out").text = "\n".join(lines)


def _harms(suite: ET.Element, group: str, judgement: Judgement, name: str, strict: bool) -> None:
    """One test case per kind of harm, and one for the pools."""
    found: dict[str, list[HarmFinding]] = {}
    for harm in judgement.harms:
        if harm.perturbation == name:
            found.setdefault(harm.kind, []).append(harm)
    for kind, harms in found.items():
        case = _case(suite, group, kind)
        lines = [told(harm) for harm in harms]
        if any(harm.colour == RED or (strict and harm.colour == AMBER) for harm in harms):
            _wrong(case, "failure", lines[0], lines)
        else:
            ET.SubElement(case, "system-out").text = "\n".join(lines)
    pools = [recovered(pool) for pool in judgement.pools if pool.perturbation == name]
    if pools:
        ET.SubElement(_case(suite, group, "pools"), "system-out").text = "\n".join(pools)


def _cell(case: ET.Element, cell: Cell, strict: bool) -> None:
    if cell.colour == NOT_COVERED:
        ET.SubElement(case, "skipped", message=reason(cell) or NOT_COVERED)
    elif cell.colour == RED or (strict and cell.colour == AMBER):
        _wrong(case, "failure", f"{cell.colour}: {reason(cell)}", _story(cell))
    elif cell.colour == AMBER:
        ET.SubElement(case, "system-out").text = "\n".join(["amber", *_story(cell)])


def _story(cell: Cell) -> list[str]:
    """The cause, for a person who has only this file."""
    lines = [clean(text) for text in cell.reasons]
    lines.append(
        f"{count(cell.requests, 'request')}: {cell.exact} attributed exactly, "
        f"{cell.possible} possibly"
    )
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


def _class(name: str) -> str:
    """A part of a class name: a dot would be taken for a package."""
    return clean(name).replace(".", "_")


def _count(suite: ET.Element) -> None:
    suite.set("tests", str(len(suite.findall("testcase"))))
    for key, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(key, str(len(suite.findall(f"testcase/{tag}"))))
