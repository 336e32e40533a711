"""``seism check`` and ``seism serve FILE``: configuration as users write it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from seism.client import Client
from tests.commands.conftest import Run
from tests.processes import process

TOML = """
seed = 7
[[backend]]
name = "db"
upstream = "127.0.0.1:5432"
[[backend.toxic]]
type = "latency"
name = "wan"
stream = "upstream"
toxicity = 0.5
attributes = { latency = 40, jitter = 5 }
[[backend.toxic]]
type = "timeout"
[[backend]]
name = "cache"
upstream = "127.0.0.1:6379"
enabled = false
"""

# What Toxiproxy's own documentation and clients write, and what only leniency reads.
JSON = """
[
  {"name": "db", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:5432", "enabled": true,
   "toxics": [
     {"Type": "latency", "name": "wan", "stream": "UPSTREAM", "toxicity": 0.5,
      "attributes": {"Latency": 40, "jitter": 5}},
     {"type": "timeout", "stream": null, "name": null, "attributes": null}
   ]},
  {"Name": "cache", "UPSTREAM": "127.0.0.1:6379", "enabled": false, "listen": null}
]
"""


def proxies(client: Client) -> list[dict[str, Any]]:
    """Without the ports, which are free ones."""
    return [
        {key: value for key, value in each.items() if key != "listen"}
        for each in client.proxies().values()
    ]


@pytest.mark.parametrize(
    ("name", "text", "how"),
    [
        ("seism.toml", TOML, []),
        ("seism.toml", TOML, ["--config"]),
        ("toxiproxy.json", JSON, []),
        ("toxiproxy.json", "\ufeff" + JSON, []),
        ("toxiproxy.conf", JSON, []),
    ],
)
def test_proxies_come_with_their_toxics(
    tmp_path: Path, name: str, text: str, how: list[str]
) -> None:
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    journal = str(tmp_path / "journal.jsonl")
    with process(
        *(sys.executable, "-m", "seism", "serve", "--port", "0", "--journal", journal),
        *(*how, str(file)),
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        address = child.stdout.readline().decode().strip().removeprefix("http://")
        assert proxies(Client(address)) == [
            {"name": "cache", "upstream": "127.0.0.1:6379", "enabled": False, "toxics": []},
            {
                "name": "db",
                "upstream": "127.0.0.1:5432",
                "enabled": True,
                "toxics": [
                    {
                        "name": "wan", "type": "latency", "stream": "upstream", "toxicity": 0.5,
                        "attributes": {"latency": 40, "jitter": 5},
                    },
                    {
                        "name": "timeout_downstream", "type": "timeout", "stream": "downstream",
                        "toxicity": 1.0, "attributes": {"timeout": 0},
                    },
                ],
            },
        ]  # fmt: skip


@pytest.mark.parametrize(("name", "text"), [("seism.toml", TOML), ("toxiproxy.json", JSON)])
def test_check_says_what_would_be(seism: Run, tmp_path: Path, name: str, text: str) -> None:
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    done = seism("check", str(file))
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        "proxy db: 127.0.0.1:0 -> 127.0.0.1:5432",
        "  toxic wan: latency latency=40 jitter=5, upstream, toxicity 0.5",
        "  toxic: timeout, downstream",
        "proxy cache: 127.0.0.1:0 -> 127.0.0.1:6379, disabled",
    ]
    values = json.loads(seism("check", "--json", str(file)).out)
    assert [proxy["name"] for proxy in values["proxies"]] == ["db", "cache"]
    assert values["plan"] == []


def test_check_shows_what_stands_in_front(seism: Run, tmp_path: Path) -> None:
    file = tmp_path / "seism.toml"
    file.write_text(
        '[front]\n[[front.toxic]]\ntype = "stall"\n'
        '[app]\ncommand = "node app.js {port}"\nurl = "http://127.0.0.1:{port}"\n'
    )
    assert seism("check", str(file)).out.splitlines() == [
        "proxy front: 127.0.0.1:0 -> http://127.0.0.1:{port}",
        "  toxic: stall, downstream",
    ]


def test_check_shows_the_plan(seism: Run, tmp_path: Path) -> None:
    file = tmp_path / "seism.toml"
    run = '[app]\ncommand = "x"\nurl = "http://127.0.0.1"\n[[load.route]]\npath = "/"\n'
    file.write_text(run + TOML.replace("seed = 7", "").replace('name = "wan"', ""))
    out = seism("check", str(file)).out
    assert "run, with seed 1:" in out
    assert "db slow: latency latency=3000, upstream, on db" in out
    assert "cache down: cache down" in out
    values = json.loads(seism("check", "--json", str(file)).out)
    assert len(values["plan"]) == 14
    assert f"expected time: about {values['expected_seconds'] / 60:.1f} min" in out
    cold = '[[perturbation]]\nname = "cold"\nbackend = "db"\ntype = "down"\ncold_start = true\n'
    file.write_text(file.read_text() + cold)
    assert "cold: db down, while the app is started" in seism("check", str(file)).out


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("s.toml", TOML.replace("40", "-1"),
         "s.toml: backend 'db': toxic 'wan': attributes.latency: -1 is not allowed, it must be 0"),
        ("s.toml", TOML.replace("jitter", "jiter"), "unknown key 'jiter'; did you mean 'jitter'?"),
        ("s.toml", TOML.replace('"timeout"', '"timout"'), "did you mean 'timeout'?"),
        ("s.toml", TOML.replace('"timeout"', '"timeout"\nname = "wan"'),
         "backend 'db': toxic 'wan': it is there twice"),
        ("s.toml", TOML.replace("0.5", "2"), "backend[0].toxic[0].toxicity: 2.0 is not allowed"),
        ("s.toml", TOML.replace("toxicity", "toxcity"), "did you mean 'toxicity'?"),
        ("s.toml", TOML + '[[perturbation]]\nname="wan"\nbackend="db"\ntype="timeout"',
         "perturbation 'wan': its backend has a toxic of that name"),
        ("t.json", JSON.replace("40", "-1"),
         "t.json: backend 'db': toxic 'wan': attributes.latency: -1 is not allowed, it must be 0"),
        ("t.json", JSON.replace('"UPSTREAM": "127.0.0.1:6379",', ""),
         "t.json: proxy 2: missing required key 'upstream'"),
        ("t.json", JSON.replace("false", '"no"'),
         "t.json: proxy 2.enabled: 'no' is not allowed, it must be true or false"),
        ("t.json", JSON.replace('"timeout"', '"timout"'), "did you mean 'timeout'?"),
        ("t.json", JSON.replace("0.5", "-3.5"), "toxicity: -3.5 is not allowed, it must be 0 to 1"),
        ("t.json", JSON.replace("cache", "db"), "t.json: backend 'db' is there twice"),
        ("t.json", JSON[:-4], "t.json: Expecting"),
        ("t.json", "{}", "t.json: Toxiproxy's configuration is a list of proxies"),
        ("t.json", "[1]", "t.json: proxy 1: an object is expected"),
        ("t.json", "[" * 100_000, "t.json: "),
        ("none.toml", None, "none.toml: No such file"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(
    seism: Run, tmp_path: Path, name: str, text: str | None, said: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    assert said in seism("check", str(tmp_path / name)).line()


def test_serve_makes_nothing_of_a_file_with_a_mistake(seism: Run, tmp_path: Path) -> None:
    file = tmp_path / "t.json"
    file.write_text(JSON.replace("40", "-1"))
    line = seism("serve", str(file), "--port", "0", "--journal", str(tmp_path / "j")).line()
    assert "0 to 3600000 ms" in line
    assert not (tmp_path / "j").exists()


def test_what_is_ignored_is_said(seism: Run, tmp_path: Path) -> None:
    file = tmp_path / "t.json"
    file.write_text('[{"name": "a", "upstream": "127.0.0.1:1", "colour": 1}]')
    done = seism("check", str(file))
    assert done.code == 0
    assert "proxy 1: unknown key 'colour' is ignored" in done.err


def test_a_name_that_does_not_resolve_yet_is_a_warning(seism: Run, tmp_path: Path) -> None:
    file = tmp_path / "toxiproxy.json"
    entry = {"name": "db", "listen": "127.0.0.1:0", "upstream": "db.not-there.invalid:5432"}
    file.write_text(json.dumps([entry]))
    done = seism("check", str(file))
    assert done.code == 0
    assert "warning: proxy db: upstream: 'db.not-there.invalid' does not resolve" in done.err
    command = [sys.executable, "-m", "seism", "serve", "--port", "0", str(file)]
    with process(*command, stdout=subprocess.PIPE, cwd=tmp_path) as child:
        assert child.stdout is not None
        assert child.stdout.readline().startswith(b"http://")


def test_an_empty_list(seism: Run, tmp_path: Path) -> None:
    file = tmp_path / "any"
    file.write_text(" [ ] ")
    assert seism("check", str(file)).out == "no proxies\n"


def test_one_file_is_enough(seism: Run) -> None:
    done = seism("serve", "a.toml", "--config", "b.toml")
    assert done.code == 2
    assert "one of them is enough" in done.err
