"""Chaos Toolkit and Toxiproxy files become a ``seism.toml``; the real toolkit accepts the first."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from seism.errors import ConfigurationError
from seism.experiment import toml
from seism.experiment.chaostoolkit import Imported, translate
from seism.experiment.config import load
from tests.processes import app, sidecar
from tests.servers import Valkey
from tests.test_cli import Done, Seism, cache, seism

__all__ = ["cache", "seism"]


def toxic(name: str, **arguments: Any) -> dict[str, Any]:
    return {"type": "action", "name": name, "provider": {
        "type": "python", "module": "chaostoxi.toxic.actions", "func": name,
        "arguments": arguments}}  # fmt: skip


def proxy(name: str, **arguments: Any) -> dict[str, Any]:
    action = toxic(name, **arguments)
    action["provider"]["module"] = "chaostoxi.proxy.actions"
    return action


def page(path: str, tolerance: Any = 200, **more: Any) -> dict[str, Any]:
    return {"type": "probe", "name": path, "tolerance": tolerance, "provider": {
        "type": "http", "url": "${base}" + path, "timeout": 3, **more}}  # fmt: skip


def experiment(port: int = 8080, cache: int = 6379) -> dict[str, Any]:
    """One that the Chaos Toolkit runs with its Toxiproxy extension."""
    latency = toxic("create_latency_toxic", for_proxy="cache", toxic_name="slow", latency=50)
    return {
        "version": "1.0.0",
        "title": "Does the shop survive a slow cache?",
        "description": "With the Toxiproxy extension",
        "configuration": {
            "base": f"http://127.0.0.1:{port}",
            "toxiproxy_url": {"type": "env", "key": "TOXIPROXY", "default": "http://127.0.0.1:8474"},
        },
        "steady-state-hypothesis": {
            "title": "It answers",
            "probes": [page("/"), page("/weak", [200, 500])],
        },
        "method": [
            proxy("create_proxy", proxy_name="cache", upstream_host="127.0.0.1",
                  upstream_port=cache, listen_host="127.0.0.1"),
            {**latency, "pauses": {"after": 1}},
            {**toxic("create_timeout_toxic", for_proxy="cache", toxic_name="silent", timeout=100),
             "pauses": {"after": 1}},
            toxic("delete_toxic", for_proxy="cache", toxic_name="slow"),
            toxic("delete_toxic", for_proxy="cache", toxic_name="silent"),
            proxy("disable_proxy", proxy_name="cache"),
        ],
        "rollbacks": [proxy("enable_proxy", proxy_name="cache")],
    }  # fmt: skip


def chaos(folder: Path, *arguments: str, **env: str) -> Done:
    """The real Chaos Toolkit."""
    argv = [str(Path(sys.executable).with_name("chaos")), "--no-version-check", "--no-log-file"]
    done = subprocess.run(
        [*argv, "--settings", str(folder / "settings.yaml"), *arguments], cwd=folder,
        env={**os.environ, **env}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return Done(done.returncode, done.stdout, done.stderr)


def test_the_real_toolkit_takes_what_we_read(tmp_path: Path) -> None:
    file = tmp_path / "experiment.json"
    file.write_text(json.dumps(experiment()))
    done = chaos(tmp_path, "validate", str(file))
    assert done.code == 0, done.err
    file.write_text(json.dumps({**experiment(), "method": "none"}))
    assert chaos(tmp_path, "validate", str(file)).code != 0


def test_the_real_toolkit_runs_against_our_control_api(tmp_path: Path) -> None:
    file = tmp_path / "experiment.json"
    with Valkey() as valkey, sidecar(tmp_path / "journal.jsonl") as control:
        made = {"name": "app", "listen": "127.0.0.1:0", "upstream": f"127.0.0.1:{valkey.port}"}
        listen = control.call("POST", "/proxies", made)["listen"]
        with app("wsgi", "tests.experiment.small_app", control, CACHE=listen) as (port, _):
            file.write_text(json.dumps(experiment(port, valkey.port)))
            url = f"http://{control.host}:{control.port}"
            done = chaos(tmp_path, "run", str(file), TOXIPROXY=url)
            assert done.code == 0, done.err + done.out
        assert control.proxies()["cache"]["enabled"]
        assert control.proxies()["cache"]["toxics"] == []
    journal = json.loads((tmp_path / "journal.json").read_text())
    assert journal["status"] == "completed"
    assert [each["status"] for each in journal["run"]] == ["succeeded"] * 6


@pytest.mark.parametrize("ending", ["json", "yaml"])
def test_what_it_becomes(seism: Seism, tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"experiment.{ending}"
    write = json.dumps if ending == "json" else yaml.safe_dump
    file.write_text(write(experiment()))
    done = seism.run("import", str(file), "--output", "seism.toml")
    assert done.code == 0, done.err
    said = "not needed, what is perturbed is always undone"
    assert done.err == f"{file}: rollbacks[1] 'enable_proxy': enable_proxy: {said}\n"
    made = load(tmp_path / "seism.toml", {})
    assert made.app is not None and made.app.url == "http://127.0.0.1:8080"
    assert made.load is not None and made.load.timeout_s == 3
    assert [(each.method, each.path) for each in made.load.route] == [
        ("GET", "/"),
        ("GET", "/weak"),
    ]
    (backend,) = made.backend
    assert (backend.name, backend.upstream) == ("cache", "127.0.0.1:6379")
    assert [
        (each.name, each.type, each.stream, each.attributes, each.at, each.lasting)
        for each in made.perturbation
    ] == [
        ("slow", "latency", "downstream", {"latency": 50}, 0, 2),
        ("silent", "timeout", "downstream", {"timeout": 100}, 1, 1),
        ("cache down", "down", "upstream", {}, None, 0),
    ]
    assert made.limits.at_most == 2
    assert made.rules.of("GET /weak").allow == (500,)
    assert "# Does the shop survive a slow cache?" in (tmp_path / "seism.toml").read_text()
    again = seism.run("import", str(file), "--output", "seism.toml")
    assert again.code != 0 and "--force writes over it" in again.line()


@pytest.mark.timeout(240)
def test_it_runs_as_seisms_own(seism: Seism, tmp_path: Path) -> None:
    """With the app's command on the command line: the weak route breaks, the other holds."""
    host, port = seism.env["CACHE"].rsplit(":", 1)
    values = experiment(0, int(port))
    values["configuration"]["base"] = "http://127.0.0.1:{port}"
    values["method"][0]["provider"]["arguments"]["upstream_host"] = host
    values["steady-state-hypothesis"]["probes"][1]["tolerance"] = 200
    (tmp_path / "experiment.json").write_text(json.dumps(values))
    assert seism.run("import", "experiment.json", "--output", "seism.toml").code == 0
    seism.env |= {"PYTHONPATH": os.getcwd()}
    command = (sys.executable, "-m", "waitress", "--listen=127.0.0.1:{port}", "--threads=8",
               "tests.experiment.small_app:app")  # fmt: skip
    done = seism.run("run", "--", *command)
    assert done.code == 1, done.err + done.out
    report = json.loads((tmp_path / "seism-report" / "report.json").read_text())
    weak = report["matrix"]["GET /weak"]
    assert (weak["silent"], weak["cache down"]) == ("red", "red")
    assert set(report["matrix"]["GET /"].values()) == {"green"}


def notes(**changes: Any) -> list[str]:
    return translate({**experiment(), **changes}, "x").notes


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ([{"type": "action", "name": "kill", "provider": {"type": "process", "path": "kill"}}],
         "method[1] 'kill': left out: Seism has no process action"),
        ([toxic("create_wormhole", for_proxy="cache")],
         "method[1] 'create_wormhole': left out: the Toxiproxy extension has no 'create_wormhole'"),
        ([toxic("delete_toxic", for_proxy="cache", toxic_name="x")],
         "method[1] 'delete_toxic': left out: nothing of that name has begun before"),
        ([{**page("/"), "tolerance": {"type": "jsonpath", "path": "$.a"}}],
         "method[1] '/': its tolerance is left out: statuses are judged, not contents"),
        ([page("/x", url="http://o:9/x")],
         "method[1] '/x': only http://127.0.0.1:8080 is asked, not http://o:9: the path is kept"),
        ([{**toxic("create_timeout_toxic", for_proxy="db", toxic_name="t", timeout=1),
           "pauses": {"after": "${later}"}}],
         "method[1] 'create_timeout_toxic': the pause '${later}' is not known before it runs"),
        ([toxic("create_timeout_toxic", for_proxy="my-db", toxic_name="t", timeout=1)],
         "backend 'my-db': its address is not told: set MY_DB_UPSTREAM"),
        (["x"], "method[1]: left out: it is no object"),
    ],
)  # fmt: skip
def test_what_has_no_place_is_said(method: list[Any], said: str) -> None:
    assert said in notes(method=method)


def test_other_tables_are_said() -> None:
    found = notes(controls=[{}], secrets={"a": {"b": "c"}}, **{"steady-state-hypothesis": None})
    assert "controls: left out" in found
    assert "secrets: left out" in found
    assert "load: there is no HTTP probe: a [[load.route]] is needed" in found


@pytest.mark.parametrize("content", ["{", "{}", '{"method": 1}', "3", '"x"'])
def test_what_is_no_experiment_is_one_line(seism: Seism, content: str) -> None:
    (seism.folder / "x.json").write_text(content)
    done = seism.run("import", "x.json")
    assert done.code == 2
    assert "x.json: " in done.line()


def test_toxiproxys_configuration(seism: Seism, tmp_path: Path) -> None:
    entry = {"name": "db", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:5432", "toxics": [
        {"type": "latency", "attributes": {"latency": 5}, "stream": "upstream"}]}  # fmt: skip
    (tmp_path / "toxiproxy.json").write_text(json.dumps([entry, {**entry, "name": "cache"}]))
    done = seism.run("import", "toxiproxy.json")
    assert done.code == 0, done.err
    (tmp_path / "made.toml").write_text(done.out)
    made, read = load(tmp_path / "made.toml"), load(tmp_path / "toxiproxy.json")
    assert made.backend == read.backend
    assert "a [[load.route]] is needed" in done.err


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["type", "provider", "arguments", "module", "pauses", "name", "url"]),
        inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(st.lists(JSON, max_size=3), JSON)
def test_any_experiment_is_translated_or_refused(method: list[Any], configuration: Any) -> None:
    try:
        made = translate({"method": method, "configuration": configuration}, "x")
    except ConfigurationError:
        return
    assert isinstance(made, Imported)
    tomllib.loads(toml.write(made.document))


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = st.recursive(
    st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=10,
)  # fmt: skip


@given(st.dictionaries(TEXT, VALUES))
def test_what_is_written_as_toml_is_read_back(document: dict[str, Any]) -> None:
    assert tomllib.loads(toml.write(document)) == document
