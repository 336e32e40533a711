"""The same counts in every report, for every judgement that is known."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET

import pytest

from seism.report import github, html, junit, markdown, sarif
from seism.report import json as document
from seism.report.diagnosis import summed
from seism.report.summary import headline, tally
from seism.report.terminal import MOST_WEAKNESSES
from seism.report.text import clean
from seism.verdict.weakness import weaknesses
from tests.report import known
from tests.report.test_terminal import shown


@pytest.mark.parametrize("name", known.ALL)
def test_weaknesses(name: str) -> None:
    judgement = known.ALL[name]
    found = weaknesses(judgement)
    words = summed(found) if found else ""
    kinds = [each.fingerprint for each in found]
    told = json.loads(document.render(judgement))["weaknesses"]
    assert [each["fingerprint"] for each in told] == kinds
    (run,) = json.loads(sarif.render(judgement))["runs"]
    results = [result["partialFingerprints"].get("weakness/v1") for result in run["results"]]
    assert [each for each in results if each] == kinds
    cases = ET.fromstring(junit.render(judgement)).findall("testsuite[@name='weaknesses']/testcase")
    assert [case.attrib["name"][-17:-1] for case in cases] == kinds
    page = html.render(judgement)
    assert re.findall(r'id="weakness-([0-9a-f]{16})"', page) == kinds
    if found:
        assert f"{words}</h2>" in page
        assert f"**{words}**" in markdown.render(judgement)
        assert words in shown(judgement).splitlines()
    assert len(found) <= MOST_WEAKNESSES
    annotations = [line for line in github.commands(judgement) if not line.startswith("::notice")]
    assert len(annotations) >= min(len(found), github.MOST)


@pytest.mark.parametrize("name", known.ALL)
def test_headline_and_colours(name: str) -> None:
    judgement = known.ALL[name]
    sentence = headline(judgement)
    figures = ", ".join(f"{number} {colour}" for colour, number in tally(judgement))
    one_line = " ".join(shown(judgement, 1000).split())
    assert " ".join(clean(sentence).split()) in one_line
    assert figures in one_line
    page = markdown.render(judgement)
    assert sentence in page
    assert figures in page
    told = json.loads(document.render(judgement))
    assert told["headline"] == sentence
    for colour, number in tally(judgement):
        assert sum(cell["colour"] == colour for cell in told["cells"]) == number
