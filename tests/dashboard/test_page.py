"""What a person sees of the dashboard, in a real browser beside a real sidecar."""

from __future__ import annotations

import contextlib
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from seism.dashboard.standalone import render
from seism.journal import read
from seism.model import PlannedStep, ToxicSpec
from seism.verdict.result import ERROR, Case, Cell, Judgement, Steady
from tests.browser import NOTED, page
from tests.ports import free_port
from tests.processes import app, sidecar, until
from tests.stage import Stage
from tests.timing import within

pytestmark = pytest.mark.debian("chromium")

SEEN = """() => {
  const { timeline, model } = Seism.page;
  const scale = window.devicePixelRatio;
  const pixel = (x, y) =>
    [...timeline.context.getImageData(Math.floor(x * scale), Math.floor(y * scale), 1, 1).data]
      .slice(0, 3);
  const probe = document.createElement("canvas").getContext("2d");
  const rgb = (colour) => {
    probe.fillStyle = colour;
    probe.fillRect(0, 0, 1, 1);
    return [...probe.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  return timeline.hits.filter((hit) => hit.request).map((hit) => ({
    id: hit.request.id,
    x: hit.x, y: hit.y,
    colour: Seism.COLOURS.find((name) =>
      String(rgb(timeline.palette[name])) === String(pixel(hit.x, hit.y))),
    // Of a disc neither is drawn, of a triangle its foot, of a cross both.
    corner: String(pixel(hit.x - 3, hit.y - 3)) === String(pixel(hit.x, hit.y)),
    foot: String(pixel(hit.x + 3, hit.y + 3)) === String(pixel(hit.x, hit.y)),
  }));
}"""
SHAPES = {"green": (False, False), "amber": (False, True), "red": (True, True)}
"""Colour -> whether (the upper left corner, the lower right one) of its mark is drawn."""


def test_marks_are_there_within_a_second_and_match_the_journal(
    stage: Stage, chromium: Browser
) -> None:
    before = stage.seen
    with page(chromium, stage.url) as opened:
        expect(opened.locator("#connection")).to_have_text("live")
        opened.wait_for_function(f"() => Seism.page.model.requests.size === {before}")
        early = stage.journalled(before)
        time.sleep(0.3)  # so that no mark covers another one
        stage.get("/")
        began = time.monotonic()
        opened.wait_for_function(f"() => Seism.page.timeline.marks > {before}")
        assert within(time.monotonic() - began, 0.0, late=1.0)
        with stage.toxic("reset_peer", timeout=0):
            for path in ("/weak", "/mute", "/", "/idle", "/weak", "/mute"):
                stage.get(path)
                time.sleep(0.3)  # so that no mark covers another one
        stage.get("/idle")
        wanted = {name: each.colour for name, each in stage.journalled(before + 8).items()}
        assert set(wanted.values()) == {"green", "amber", "red"}
        opened.wait_for_function(
            f"() => Seism.page.model.requests.size === {before + 8} && !Seism.page.model.counts[0]"
        )
        opened.locator("#live").click()
        opened.wait_for_timeout(300)
        seen = opened.evaluate(SEEN)
        # Those from before the page was there may be one behind the other.
        seen = [mark for mark in seen if mark["id"] not in early]
        wanted = {name: colour for name, colour in wanted.items() if name not in early}
        assert {mark["id"]: mark["colour"] for mark in seen} == wanted
        for mark in seen:
            assert (mark["corner"], mark["foot"]) == SHAPES[mark["colour"]], mark


def test_a_red_mark_tells_what_hit_the_request_and_what_the_app_said(
    stage: Stage, chromium: Browser
) -> None:
    with page(chromium, stage.url) as opened:
        with stage.toxic("reset_peer", timeout=0):
            assert stage.get("/weak") == 500
            assert stage.get("/") == 503
        stage.journalled(stage.seen)
        expect(opened.locator("#verdict")).to_have_text("✗ does not survive: 1 red")
        opened.locator("#live").click()
        opened.wait_for_timeout(300)
        click_mark(opened, "red")
        detail = opened.locator("#detail")
        expect(detail).to_contain_text("GET /weak")
        expect(detail).to_contain_text("red: 500 (redis.exceptions.ConnectionError)")
        expect(detail).to_contain_text(
            re.compile(r"hit by reset_peer on cache, from byte \d+ .*: exact, evidence: ledger")
        )
        opened.locator("#filter").fill("GET /")
        click_mark(opened, "green")
        expect(detail).to_contain_text("small small_app:")
        expect(opened.locator("#matrix")).to_contain_text("✗ red, 1")


def click_mark(opened: Page, colour: str) -> None:
    marks: list[dict[str, Any]] = opened.evaluate(SEEN)
    mark = [each for each in marks if each["colour"] == colour][-1]
    opened.locator("#canvas").click(position={"x": mark["x"], "y": mark["y"]})


def test_a_person_perturbs_and_undoes_everything_at_once(stage: Stage, chromium: Browser) -> None:
    with page(chromium, stage.url) as opened:
        expect(opened.locator("[data-proxy=cache]")).to_contain_text("up")
        opened.locator("#add [name=type]").select_option("latency")
        opened.locator("[name=option-latency]").fill("120")
        opened.locator("#add button[type=submit]").click()
        expect(opened.locator("[data-proxy=cache]")).to_contain_text("latency=120")
        opened.get_by_role("button", name="Take down cache").click()
        expect(opened.locator("[data-proxy=cache]")).to_contain_text("down")
        assert stage.get("/") == 503
        opened.keyboard.press("k")
        expect(opened.locator("[data-proxy=cache]")).not_to_contain_text("latency")
        proxy = stage.control.call("GET", "/proxies")["cache"]
        assert (proxy["enabled"], proxy["toxics"]) == (True, [])
        assert stage.get("/") == 200
        opened.wait_for_function("() => Seism.page.model.active.size === 0")


def test_what_cannot_be_is_said_where_it_was_asked_for(stage: Stage, chromium: Browser) -> None:
    with page(chromium, stage.url, but="status of 400") as opened:
        opened.locator("#add [name=type]").select_option("latency")
        opened.locator("[name=option-latency]").fill("-1")
        with opened.expect_response(lambda response: response.status == 400):
            opened.locator("#add button[type=submit]").click()
        expect(opened.locator("#problem")).to_contain_text("0 to 3600000 ms")
    assert stage.control.call("GET", "/proxies")["cache"]["toxics"] == []


def test_the_keyboard_is_enough(stage: Stage, chromium: Browser) -> None:
    with page(chromium, stage.url) as opened:
        with stage.toxic("reset_peer", timeout=0):
            stage.get("/weak")
            stage.get("/mute")
        expect(opened.locator("#list button")).to_have_count(2)
        opened.keyboard.press("ArrowDown")
        expect(opened.locator("#detail")).to_contain_text("GET /mute")
        opened.keyboard.press("ArrowDown")
        expect(opened.locator("#detail")).to_contain_text("GET /weak")
        span = opened.evaluate("Seism.page.view.span")
        opened.keyboard.press("+")
        assert opened.evaluate("Seism.page.view.span") < span
        opened.keyboard.press("ArrowLeft")
        expect(opened.locator("#live")).to_have_attribute("aria-pressed", "false")
        opened.keyboard.press(" ")
        expect(opened.locator("#live")).to_have_attribute("aria-pressed", "true")


def test_a_filter_leaves_what_was_asked_for(stage: Stage, chromium: Browser) -> None:
    with page(chromium, stage.url) as opened:
        with stage.toxic("reset_peer", timeout=0):
            for path in ("/weak", "/mute", "/idle"):
                stage.get(path)
        expect(opened.locator("#list button")).to_have_count(2)
        opened.locator("#live").click()

        def shown() -> set[str]:
            opened.wait_for_timeout(400)
            ids = {mark["id"] for mark in opened.evaluate(SEEN)}
            route = "(id) => Seism.page.model.requests.get(id).route"
            return {opened.evaluate(route, each) for each in ids}

        assert shown() == {"GET /", "GET /weak", "GET /mute", "GET /idle"}
        opened.locator("#filter").fill("WEAK")
        assert shown() == {"GET /weak"}
        expect(opened.locator("#list button")).to_have_count(1)
        opened.locator("#filter").fill("")
        opened.locator("#bad").check()
        assert shown() == {"GET /weak", "GET /mute"}


def test_a_sidecar_that_restarts_loses_nothing(tmp_path: Path, chromium: Browser) -> None:
    port = free_port()
    with contextlib.ExitStack() as first:
        control = first.enter_context(sidecar(tmp_path / "1.jsonl", "--port", str(port)))
        with app("wsgi", "tests.experiment.small_app", control, CACHE="127.0.0.1:9") as (at, _):
            stage = Stage(control, at, tmp_path / "1.jsonl")
            with page(chromium, stage.url) as opened:
                for _ in range(5):
                    stage.get("/idle")
                opened.wait_for_function("() => Seism.page.model.counts[1] === 5")
                first.close()
                expect(opened.locator("#connection")).to_have_attribute("data-state", "away")
                for _ in range(3):
                    stage.get("/idle")
                with sidecar(tmp_path / "2.jsonl", "--port", str(port)):
                    expect(opened.locator("#connection")).to_have_text("live")
                    for _ in range(2):
                        stage.get("/idle")
                    opened.wait_for_function("() => Seism.page.model.counts[1] === 10")


def test_a_token_is_asked_for(tmp_path: Path, chromium: Browser, monkeypatch: Any) -> None:
    monkeypatch.setenv("SEISM_TOKEN", "correct horse")
    with sidecar(tmp_path / "journal.jsonl") as control:
        # Chromium notes the 401 in its console, as it must.
        context = chromium.new_context()
        opened = context.new_page()
        opened.goto(f"http://{control.host}:{control.port}/seism/")
        opened.locator("#token").fill("correct horse")
        opened.get_by_role("button", name="Use it").click()
        expect(opened.locator("#connection")).to_have_text("live")
        context.close()


def serious(opened: Page, axe: str) -> list[tuple[str, str, list[str]]]:
    """Faults of accessibility: what, how bad, where."""
    opened.evaluate(axe)
    return [
        (each["id"], each["impact"], [node["html"] for node in each["nodes"]])
        for each in opened.evaluate("async () => (await axe.run()).violations")
        if each["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_no_serious_accessibility_fault(
    stage: Stage, chromium: Browser, dark: bool, axe: str
) -> None:
    with page(chromium, stage.url, dark=dark) as opened:
        with stage.toxic("reset_peer", timeout=0):
            stage.get("/weak")
            stage.get("/mute")
        expect(opened.locator("#list button")).to_have_count(2)
        opened.keyboard.press("ArrowDown")
        assert serious(opened, axe) == []


def test_a_report_opens_from_a_file_without_network(
    stage: Stage, chromium: Browser, tmp_path: Path
) -> None:
    with stage.toxic("reset_peer", timeout=0):
        stage.get("/weak")
        stage.get("/")
    wanted = stage.journalled(stage.seen)
    until(lambda: stage.journal.read_text().count('"kind":"attribution"') >= 1)
    steady = Steady(True, "", 0)
    judgement = Judgement(1, (), "red", steady, (), (), cells=(), cases=())
    report = tmp_path / "timeline.html"
    report.write_text(render(read(stage.journal), judgement))
    asked: list[str] = []
    context = chromium.new_context(offline=True)
    context.on("request", lambda request: asked.append(request.url))
    opened = context.new_page()
    faults: list[str] = []
    opened.on("console", lambda message: faults.append(message.text))
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.goto(report.as_uri())
    expect(opened.locator("#verdict")).to_have_text("✗ does not survive: 1 red")
    expect(opened.locator("#kill")).to_be_hidden()
    opened.wait_for_function("() => Seism.page.timeline.marks > 0")
    seen = {mark["id"]: mark["colour"] for mark in opened.evaluate(SEEN)}
    assert seen == {name: each.colour for name, each in wanted.items()}
    opened.locator("#list button").first.click()
    expect(opened.locator("#detail")).to_contain_text("exact, evidence: ledger")
    assert asked == [report.as_uri()]
    assert [line for line in faults if not re.search(NOTED, line)] == []
    context.close()


def test_a_mark_leads_to_its_weakness_in_the_report(
    stage: Stage, chromium: Browser, tmp_path: Path
) -> None:
    with stage.toxic("reset_peer", timeout=0):
        stage.get("/weak")
    ((request, _),) = stage.journalled(stage.seen).items()
    case = Case(request, "GET /weak", "reset", "during", "red", "500", 500, 0.1, kind=ERROR)
    cell = Cell("GET /weak", "reset", "red", ("500",), 1, 1, 0, case)
    plan = (PlannedStep(ToxicSpec("reset_peer", "reset"), "cache", "reset"),)
    steady = Steady(True, "", 9)
    judgement = Judgement(
        1, plan, "red", steady, ("GET /weak",), ("reset",), cells=(cell,), cases=(case,)
    )
    report = tmp_path / "timeline.html"
    report.write_text(render(read(stage.journal), judgement))
    with page(chromium, report.as_uri()) as opened:
        opened.locator("#list button").first.click()
        link = opened.locator("#detail a")
        expect(link).to_have_text("GET /weak answers 500 when cache resets a connection")
        assert (link.get_attribute("href") or "").startswith("report.html#weakness-")


def test_nothing_that_an_app_says_becomes_a_tag(
    stage: Stage, chromium: Browser, tmp_path: Path
) -> None:
    until(lambda: b'"kind":"manifest"' in stage.journal.read_bytes())
    hostile = '</script><script>document.title="taken"</script><img src=x onerror=alert(1)>'
    record = {
        "seq": 99, "t": 1.0, "kind": "request.ended", "request": hostile, "method": "GET",
        "route": hostile, "began": 1.0, "duration": 0.1, "status": 500, "body": "complete",
        "exception": hostile,
    }  # fmt: skip
    copy = tmp_path / "hostile.jsonl"
    manifest = stage.journal.read_bytes().splitlines(keepends=True)[0]
    copy.write_bytes(manifest + json.dumps(record).encode() + b"\n")
    judgement = Judgement(1, (), "red", Steady(True, "", 0), (), (), cells=(), cases=())
    report = tmp_path / "hostile.html"
    report.write_text(render(read(copy), judgement))
    with page(chromium, report.as_uri()) as opened:
        opened.locator("#list button").first.click()
        expect(opened.locator("#detail dl")).to_contain_text(hostile)
        assert opened.title() == "Seism"
        assert opened.locator("img").count() == 0
