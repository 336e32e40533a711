"""What stays true of a page that somebody has had open for long."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from seism.client import Control
from seism_middleware.contract import Attribution, Harm
from tests.browser import page
from tests.ports import free_port
from tests.processes import process, sidecar, until
from tests.stage import CHAOS, Stage
from tests.worker import worker

pytestmark = pytest.mark.debian("chromium")

HOSTILE = '<img src=x onerror="document.title=1"><script>document.title=2<script>'


def url(control: Control) -> str:
    return f"http://{control.host}:{control.port}/seism/"


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Control]:
    with sidecar(tmp_path / "journal.jsonl") as started:
        yield started


def drawn(opened: Page) -> None:
    """Until the tables have been drawn at least twice more."""
    opened.evaluate(
        """() => new Promise((done) => {
          const end = performance.now() + 700;
          const look = () => performance.now() > end ? done() : requestAnimationFrame(look);
          look();
        })"""
    )


def test_a_click_that_takes_its_time_is_not_lost(control: Control, chromium: Browser) -> None:
    control.call("POST", "/proxies", {"name": "cache", "upstream": "127.0.0.1:9"})
    with worker(control) as app, page(chromium, url(control)) as opened:
        app.say(app.ended(500, "/first"))
        for selector, result in (
            ("#list button", lambda: expect(opened.locator("#detail")).to_contain_text("/first")),
            (
                "#proxies button",
                lambda: until(lambda: not control.proxies()["cache"]["enabled"]),
            ),
        ):
            button = opened.locator(selector).last
            button.hover()
            opened.mouse.down()
            app.say(app.ended(500, "/next"))
            opened.wait_for_timeout(2500 if "proxies" in selector else 600)
            button.hover()
            opened.mouse.up()
            result()


def test_the_request_that_is_shown_stays_up_to_date(control: Control, chromium: Browser) -> None:
    control.call("POST", "/proxies", {"name": "cache", "upstream": "127.0.0.1:9"})
    control.enable("cache", False)
    with worker(control) as app, page(chromium, url(control)) as opened:
        request = app.ended(500, "/late")
        app.say(request)
        opened.locator("#list button").click()
        detail = opened.locator("#detail")
        expect(detail).to_contain_text("Nothing that is known.")
        app.say(Attribution("p1", request.request, "ledger", True))
        expect(detail).to_contain_text("hit by down on cache: exact, evidence: ledger")


def test_wrong_data_is_red_and_told(control: Control, chromium: Browser) -> None:
    with worker(control) as app, page(chromium, url(control)) as opened:
        app.say(first := app.ended(), second := app.ended(route="/second"))
        opened.wait_for_function("() => Seism.page.model.counts[1] === 2")
        app.say(Harm("crosstalk", second.request, True, "cache", "127.0.0.1:7", first.request))
        expect(opened.locator("#verdict")).to_have_text("✗ does not survive: 1 red")
        opened.locator("#list button").click()
        expect(opened.locator("#detail")).to_contain_text(
            f"crosstalk: it was answered with a reply to the question of {first.request}, "
            "on the connection 127.0.0.1:7 to cache (exact)"
        )


def test_another_sidecar_has_other_perturbations(tmp_path: Path, chromium: Browser) -> None:
    port = free_port()
    command = (sys.executable, "-m", "seism", "serve", "--port", str(port), "--journal")
    control = Control("127.0.0.1", port)
    made = {"name": "cache", "upstream": "127.0.0.1:9"}

    def answers() -> bool:
        with contextlib.suppress(Exception):
            return bool(control.call("GET", "/version"))
        return False

    with contextlib.ExitStack() as first:
        first.enter_context(process(*command, str(tmp_path / "1.jsonl"), stop=signal.SIGKILL))
        until(answers)
        control.call("POST", "/proxies", made)
        with page(chromium, url(control)) as opened:
            control.enable("cache", False)  # p1, which this sidecar can't end
            with worker(control) as app:
                app.say(
                    red := app.ended(500, "/red"), Attribution("p1", red.request, "ledger", True)
                )
                opened.wait_for_function("() => Seism.page.model.notGreen[0]?.attributions.length")
            first.close()
            expect(opened.locator("#connection")).to_have_attribute("data-state", "away")
            with process(*command, str(tmp_path / "2.jsonl")):
                until(answers)
                control.call("POST", "/proxies", made)
                control.add_toxic("cache", {"type": "accept_close", "name": "t"})
                hit(control)
                expect(opened.locator("#note")).to_contain_text("the sidecar was started anew")
                opened.wait_for_function("() => Seism.page.model.perturbations.size >= 2")
                seen = opened.evaluate(
                    "[...Seism.page.model.perturbations.values()].map((p) => [p.id, p.type])"
                )
                assert seen[:2] == [["p1", "down"], ["p1", "accept_close"]]
                opened.wait_for_function("() => Seism.page.model.active.size === 0")
                opened.locator("#list button").click()
                expect(opened.locator("#detail")).to_contain_text("hit by down on cache")


def hit(control: Control) -> None:
    """One connection to the proxy ``cache``."""
    host, _, port = control.proxies()["cache"]["listen"].rpartition(":")
    with socket.create_connection((host, int(port)), timeout=5) as client:
        with contextlib.suppress(OSError):
            client.recv(1)


def test_the_kill_switch_ends_standing_chaos_too(tmp_path: Path, chromium: Browser) -> None:
    file = tmp_path / "seism.toml"
    file.write_text(CHAOS)
    with sidecar(tmp_path / "journal.jsonl", "--config", str(file), "--seed", "3") as control:
        with page(chromium, url(control)) as opened:
            opened.wait_for_function("() => Seism.page.chaos && Seism.page.model.effects.size")
            opened.get_by_role("button", name="Undo everything").click()
            expect(opened.locator("#note")).to_contain_text("everything was undone at")
            assert control.call("GET", "/seism/chaos")["running"] is False
            proxy = control.proxies()["cache"]
            assert (proxy["enabled"], proxy["toxics"]) == (True, [])
            opened.wait_for_function("() => Seism.page.model.active.size === 0")


def test_what_is_not_shown_is_said(control: Control, chromium: Browser, tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    kept = 4096
    with worker(control) as app:
        for _ in range(5):
            app.say(*(app.ended() for _ in range(1000)))
        until(lambda: journal.read_bytes().count(b'"request.ended"') == 5000)
        with page(chromium, url(control)) as opened:
            opened.wait_for_function(f"() => Seism.page.model.requests.size === {kept}")
            note = opened.locator("#note")
            expect(note).to_have_text(f"{5000 - kept} earlier requests are in the journal")
            opened.evaluate("Seism.LIMIT = 4100")
            red = app.ended(500, "/red")
            app.say(red, *(app.ended() for _ in range(4)))
            expect(note).to_contain_text("the oldest 410 requests are counted, and in the journal")
            found: dict[str, Any] = opened.evaluate(
                """() => { const { model } = Seism.page; return {
                  kept: model.requests.size, counts: model.counts,
                  lanes: [...model.routes.values()].reduce((sum, list) => sum + list.length, 0),
                  old: [...model.requests.values()].some((r) => r.end < model.oldest),
                }; }"""
            )
            assert found == {
                "kept": kept + 5 - 410, "counts": [0, kept + 4, 0, 1], "lanes": kept + 5 - 410,
                "old": False,
            }  # fmt: skip


def test_what_was_red_stays_so_when_it_is_forgotten(control: Control, chromium: Browser) -> None:
    control.call("POST", "/proxies", {"name": "cache", "upstream": "127.0.0.1:9"})
    with worker(control) as app, page(chromium, url(control)) as opened:
        opened.evaluate("Seism.LIMIT = 50; Seism.EFFECTS = 10")
        control.enable("cache", False)
        red = app.ended(500, "/red")
        app.say(red, Attribution("p1", red.request, "ledger", True))
        expect(opened.locator("#matrix")).to_contain_text("✗ red, 1")
        for _ in range(15):
            control.enable("cache", True)
            control.enable("cache", False)
        app.say(*(app.ended() for _ in range(60)))
        opened.wait_for_function("() => Seism.page.model.forgotten")
        assert opened.evaluate("Seism.page.model.requests.size") <= 50
        assert opened.evaluate("Seism.page.model.perturbations.size") <= 10
        expect(opened.locator("#list")).to_have_text("Nothing.")
        expect(opened.locator("#matrix")).to_contain_text("✗ red, 1")
        expect(opened.locator("#verdict")).to_have_text("✗ does not survive: 1 red")


def test_standing_still_and_going_on(control: Control, chromium: Browser) -> None:
    with worker(control) as app, page(chromium, url(control)) as opened:
        app.say(app.ended(), app.ended())
        opened.wait_for_function("() => Seism.page.timeline.marks === 2")
        opened.get_by_role("button", name="Live").click()
        right = opened.evaluate("Seism.page.view.to")
        app.say(app.ended(500, "/later"))
        expect(opened.locator("#list button")).to_have_count(1)  # it is known ...
        drawn(opened)
        assert opened.evaluate("Seism.page.view.to") == right  # ... and nothing has moved
        opened.get_by_role("button", name="Live").click()
        opened.wait_for_function(f"() => Seism.page.view.to > {right}")
        opened.wait_for_function("() => Seism.page.timeline.marks === 3")


def test_the_wheel_the_buttons_and_dragging(control: Control, chromium: Browser) -> None:
    with worker(control) as app, page(chromium, url(control)) as opened:
        app.say(*(app.ended() for _ in range(3)))
        opened.wait_for_function("() => Seism.page.timeline.marks === 3")
        view = "({ from: Seism.page.view.from, span: Seism.page.view.span })"
        box = opened.locator("#canvas").bounding_box()
        assert box is not None
        opened.locator("#live").click()
        before = opened.evaluate(view)
        x, y = box["x"] + 190 + (box["width"] - 190) / 4, box["y"] + 10
        opened.mouse.move(x, y)
        opened.mouse.wheel(0, -100)
        opened.wait_for_function(f"() => Seism.page.view.span < {before['span']}")
        near = opened.evaluate(view)
        # What is under the pointer stays there.
        at = [each["from"] + each["span"] / 4 for each in (before, near)]
        assert at[0] == pytest.approx(at[1], abs=before["span"] / 200)
        opened.mouse.down()
        opened.mouse.move(x + 100, y, steps=4)
        opened.mouse.up()
        dragged = opened.evaluate(view)
        assert dragged["span"] == near["span"]
        moved = (near["from"] - dragged["from"]) / near["span"] * (box["width"] - 190)
        assert moved == pytest.approx(100, abs=2)
        opened.get_by_role("button", name="Zoom out").click()
        assert opened.evaluate(view)["span"] > dragged["span"]
        opened.get_by_role("button", name="All").click()
        assert opened.evaluate("Seism.page.view.from < Seism.page.model.oldest")


def test_one_toxic_is_undone(control: Control, chromium: Browser) -> None:
    control.call("POST", "/proxies", {"name": "cache", "upstream": "127.0.0.1:9"})
    for name in ("one", "two"):
        control.add_toxic("cache", {"type": "noop", "name": name})
    with page(chromium, url(control)) as opened:
        opened.get_by_role("button", name="Undo one on cache").click()
        expect(opened.locator("#proxies .toxic")).to_have_count(1)
    assert [each["name"] for each in control.proxies()["cache"]["toxics"]] == ["two"]


def test_names_are_only_names(control: Control, chromium: Browser) -> None:
    control.call("POST", "/proxies", {"name": HOSTILE, "upstream": "127.0.0.1:9"})
    control.add_toxic(HOSTILE, {"type": "noop", "name": HOSTILE})
    control.enable(HOSTILE, False)
    with worker(control) as app, page(chromium, url(control)) as opened:
        red = app.ended(500, HOSTILE, exception=HOSTILE)
        app.say(red, Attribution("p1", red.request, HOSTILE, True))
        opened.locator("#list button").click()
        for place in ("#detail", "#list", "#matrix", "#proxies", "#add"):
            expect(opened.locator(place)).to_contain_text(HOSTILE)
        assert opened.locator("img").count() == 0
        assert opened.title() == "Seism"
        opened.get_by_role("button", name=f"Bring up {HOSTILE}").click()
        until(lambda: control.proxies()[HOSTILE]["enabled"])


INJECTED = """() => {
  const script = document.createElement("script");
  script.textContent = "globalThis.taken = true";
  document.body.append(script);
  const image = document.createElement("div");
  image.innerHTML = '<img src="data:," onerror="globalThis.taken = true">';
  document.body.append(image);
  return new Promise((done) => setTimeout(() => done(Boolean(globalThis.taken)), 300));
}"""


def test_a_script_that_was_brought_in_does_not_run(control: Control, chromium: Browser) -> None:
    with page(chromium, url(control), but="Content Security Policy|content security") as opened:
        assert opened.evaluate(INJECTED) is False
        told = opened.evaluate("fetch('http://127.0.0.1:9/').then(() => 'sent', String)")
        assert "Failed to fetch" in told


def test_no_value_and_no_credential_is_shown(stage: Stage, chromium: Browser) -> None:
    secrets = ("hunter2", "4111111111111111")
    with page(chromium, stage.url) as opened, stage.toxic("reset_peer", timeout=0):
        stage.get(f"/weak?password={secrets[0]}&card={secrets[1]}")
        opened.locator("#list button").click()
        expect(opened.locator("#detail")).to_contain_text("GET /weak")
        everything = opened.content() + opened.evaluate(
            """() => JSON.stringify([[...Seism.page.model.requests.values()].map(
              (request) => ({ ...request })), [...Seism.page.model.perturbations.keys()]])"""
        )
    assert "GET /weak" in everything
    assert not [each for each in secrets if each in everything]


def test_a_session_of_serve_can_be_looked_at_again(
    stage: Stage, chromium: Browser, tmp_path: Path
) -> None:
    with stage.toxic("reset_peer", timeout=0):
        assert stage.get("/weak") == 500
    stage.journalled(stage.seen)
    until(lambda: stage.journal.read_text().count('"toxic.changed"') == 2)
    command = [sys.executable, "-m", "seism", "report", str(stage.journal)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60, check=False)
    assert done.returncode == 3, done.stderr  # no control phase: no verdict over the run
    with page(chromium, (stage.journal.parent / "timeline.html").as_uri()) as opened:
        expect(opened.locator("#verdict")).to_have_text("✗ does not survive: 1 red")
        expect(opened.locator("#detail")).to_contain_text("hit by reset_peer on cache")
        seen = "[...Seism.page.model.rules.get('cache')].map((rule) => [rule.type, rule.by])"
        assert opened.evaluate(seen) == [["reset_peer", "api"]]


def test_dark_or_light_by_the_button(control: Control, chromium: Browser) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    with page(chromium, url(control)) as opened:
        light = opened.evaluate(ground)
        opened.locator("#theme").click()
        assert opened.evaluate(ground) != light
        expect(opened.locator("#theme")).to_have_attribute("aria-pressed", "true")
        opened.locator("#theme").click()
        assert opened.evaluate(ground) == light


def test_what_was_in_force_and_who_did_it(control: Control, chromium: Browser) -> None:
    control.call("POST", "/proxies", {"name": "cache", "upstream": "127.0.0.1:9"})
    with page(chromium, url(control)) as opened:
        control.add_toxic("cache", {"type": "latency", "name": "t", "attributes": {"latency": 9}})
        until(lambda: opened.evaluate("Seism.page.timeline.hits.some((hit) => hit.rule)"))
        opened.locator("#live").click()
        drawn(opened)
        bar = opened.evaluate("Seism.page.timeline.hits.find((hit) => hit.rule)")
        opened.locator("#canvas").click(position={"x": (bar["x"] + bar["to"]) / 2, "y": bar["y"]})
        detail = opened.locator("#detail")
        expect(detail).to_contain_text("latency was in force on cache")
        expect(detail).to_contain_text("latency=9")
        expect(detail).to_contain_text("a call of the API")
        expect(detail).to_contain_text("it still is")
        opened.keyboard.press("k")
        expect(detail).to_contain_text("undone by")
        expect(detail).not_to_contain_text("it still is")
