"""The commands as scripts and people meet them: exit codes, output, one clear line."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from seism.cli import cli
from seism.client import Client
from seism.commands.tail import line
from seism.errors import ConfigurationError
from tests.client.sse import Events, began, ended, event, serving
from tests.commands.conftest import Run, rows
from tests.processes import free_port, heed_interrupts, process


@pytest.fixture
def db(client: Client) -> str:
    client.create("db", "127.0.0.1:1", toxics=[{"type": "latency", "attributes": {"latency": 5}}])
    return "db"


def test_the_life_of_a_proxy(client: Client, seism: Run) -> None:
    port = free_port()
    done = seism("proxy", "add", "db", "upstream=127.0.0.1:1", f"listen=127.0.0.1:{port}", "--json")
    assert done.code == 0
    assert json.loads(done.out) == client.proxy("db").get()
    assert seism("proxy", "update", "db", "upstream=127.0.0.1:2").code == 0
    done = seism("proxy", "inspect", "db")
    assert ["upstream", "127.0.0.1:2"] in [line.split() for line in done.out.splitlines()]
    assert seism("proxy", "disable", "db").code == 0
    assert seism("proxy", "list").out.split("\n")[2].split() == [
        "db", f"127.0.0.1:{port}", "127.0.0.1:2", "disabled",
    ]  # fmt: skip
    assert seism("proxy", "enable", "db").code == 0
    (only,) = json.loads(seism("proxy", "list", "--json").out)
    assert only == client.proxy("db").get()
    assert only["enabled"]
    assert json.loads(seism("proxy", "remove", "db", "--json").out) == {"removed": ["db"]}
    assert seism("proxy", "list").out == "no proxies\n"
    assert seism("proxy", "list", "--json").out == "[]\n"


def test_the_life_of_a_toxic(client: Client, seism: Run) -> None:
    client.create("db", "127.0.0.1:1")
    added = seism(
        *("toxic", "add", "db", "latency", "latency=100", "jitter=10"),
        *("--stream", "upstream", "--toxicity", "0.5", "--name", "slow", "--json"),
    )
    assert added.code == 0
    slow = client.proxy("db").named("slow")
    assert json.loads(added.out) == slow.get()
    assert slow.get()["attributes"] == {"latency": 100, "jitter": 10}
    assert (slow.get()["stream"], slow.get()["toxicity"]) == ("upstream", 0.5)
    assert seism("toxic", "update", "db", "slow", "latency=7", "--toxicity", "1").code == 0
    assert slow.get()["attributes"] == {"latency": 7, "jitter": 10}
    assert slow.get()["toxicity"] == 1
    row = rows(seism("toxic", "list").out)[1]
    assert row == ["db", "slow", "latency", "upstream", "1", "latency=7 jitter=10"]
    assert rows(seism("toxic", "list", "db").out)[1] == row
    (only,) = json.loads(seism("toxic", "list", "--json").out)
    assert only == {"proxy": "db", **slow.get()}
    assert "latency=7 jitter=10" in seism("toxic", "inspect", "db", "slow").out
    assert seism("toxic", "remove", "db", "slow").out == ""
    assert seism("toxic", "list").out == "no toxics\n"


def test_the_conditions_of_a_fault(client: Client, seism: Run) -> None:
    client.create("cache", "127.0.0.1:1", protocol="redis")
    assert seism("toxic", "add", "cache", "redis_busy", "--name", "busy").code == 0
    told = seism("toxic", "update", "cache", "busy", "exchange.kind=SET", "exchange.every=3")
    assert told.code == 0
    busy = client.proxy("cache").named("busy")
    assert busy.get()["exchange"] == {"kind": "SET", "every": 3}
    assert seism("toxic", "update", "cache", "busy", "exchange.key=a*", "--json").code == 0
    assert busy.get()["exchange"] == {"key": "a*"}
    assert "add the toxic anew" in seism("toxic", "update", "cache", "busy", "turn=2").line()


def test_reset(client: Client, db: str, seism: Run) -> None:
    client.enable(db, False)
    done = seism("reset")
    assert (done.code, done.out) == (0, "")
    assert client.proxy(db).get()["enabled"]
    assert client.proxy(db).toxics() == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["proxy", "inspect", "none"], "proxy not found"),
        (["proxy", "add", "db", "upstream=127.0.0.1:1"], "proxy already exists"),
        (["proxy", "add", "new"], "proxy new: missing required key 'upstream'"),
        (["proxy", "add", "new", "upstrem=x"], "unknown key 'upstrem'; did you mean 'upstream'?"),
        (["proxy", "add", "new", "upstream"], "'upstream' is not allowed, it must be KEY=VALUE"),
        (["proxy", "add", "new", "upstream=x"], "'x' is not an address, host:port is expected"),
        (["proxy", "update", "db", "enabled=5"], "enabled: 5 is not allowed, it must be true or"),
        (["toxic", "remove", "db", "none"], "toxic not found"),
        (["toxic", "add", "db", "latncy"], "invalid toxic type 'latncy'; did you mean 'latency'?"),
        (
            ["toxic", "add", "db", "latency", "--stream", "upstream", "latency=-1"],
            "0 to 3600000 ms",
        ),
        (["toxic", "add", "db", "latency", "latency=1", "latency=2"], "'latency' is given twice"),
        (["toxic", "add", "db", "latency", "latency=x"], "it must be a whole number, 0 to 3600000"),
        (["toxic", "add", "db", "latency"], "toxic already exists"),
        (["toxic", "update", "db", "latency_downstream", "jiter=1"], "did you mean 'jitter'?"),
        (["toxic", "types", "latancy"], "did you mean 'latency'?"),
        (["proxy", "list", "--sidecar", "nonsense"], "host:port is expected"),
    ],
)
def test_a_mistake_is_one_line(db: str, seism: Run, arguments: list[str], said: str) -> None:
    assert said in seism(*arguments).line()


@pytest.mark.parametrize(
    "arguments",
    [["proxy", "list"], ["toxic", "add", "db", "latency"], ["reset"], ["tail"], ["tail", "--json"]],
)
def test_a_sidecar_that_is_away_is_one_line(seism: Run, arguments: list[str]) -> None:
    line = seism(*arguments, SEISM_SIDECAR=f"127.0.0.1:{free_port()}").line()
    assert "does not answer" in line


def test_a_missing_token_is_one_line(seism: Run) -> None:
    command = [sys.executable, "-m", "seism", "serve", "--port", "0"]
    with process(*command, env={"SEISM_TOKEN": "t"}, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        address = child.stdout.readline().decode().strip().removeprefix("http://")
        assert "token" in seism("proxy", "list", "--sidecar", address).line()
        assert seism("proxy", "list", "--sidecar", address, SEISM_TOKEN="t").code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["proxy"], ["toxic", "add", "db"], ["toxic", "update", "db", "x"],
        ["proxy", "update", "db"], ["proxy", "remove"],
        ["toxic", "add", "db", "latency", "--toxicity", "2"], ["tail", "-n0"],
    ],
)  # fmt: skip
def test_wrong_usage(arguments: list[str]) -> None:
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 2
    assert "Usage: " in done.output


@pytest.mark.parametrize(
    "path",
    [
        [group, command]
        for group, commands in (
            ("proxy", "list add update remove inspect enable disable"),
            ("toxic", "list add update remove inspect types"),
        )
        for command in commands.split()
    ]
    + [["proxy"], ["toxic"], ["reset"], ["tail"], ["check"], ["serve"], ["new"]],
    ids=" ".join,
)
def test_help(path: list[str]) -> None:
    done = CliRunner().invoke(cli, [*path, "--help"])
    assert done.exit_code == 0
    assert all(len(line) <= 80 for line in done.output.splitlines())
    if path[-1] in ("add", "update", "tail", "check", "proxy", "toxic", "new"):
        assert "Example" in done.output


class TestOutput:
    def test_nothing_is_cut_off_in_a_pipe(self, client: Client, seism: Run) -> None:
        name = "a-name-that-is-longer-than-any-name-should-be-" * 2
        client.create(name, "127.0.0.1:1")
        out = seism("proxy", "list").out
        assert all(len(line) <= 80 for line in out.splitlines())
        assert name in "".join(row[0] for row in rows(out)[1:])

    def test_hostile_names_do_nothing(self, client: Client, seism: Run) -> None:
        with pytest.raises(ConfigurationError, match="no control characters"):
            client.create("\x1b[31mred [bold]", "127.0.0.1:1")
        client.create("[31mred [bold]", "127.0.0.1:1")
        out = seism("proxy", "list", FORCE_COLOR="1", COLUMNS="200").out
        assert "[31mred [bold]" in out

    def test_colour_only_where_it_is_wanted(self, db: str, seism: Run) -> None:
        assert "\x1b" not in seism("toxic", "list").out
        assert "\x1b" in seism("toxic", "list", FORCE_COLOR="1").out
        assert "\x1b[3" not in seism("toxic", "list", FORCE_COLOR="1", NO_COLOR="1").out

    def test_the_catalogue(self, seism: Run) -> None:
        out = seism("toxic", "types", SEISM_SIDECAR="127.0.0.1:1").out
        assert "latency: Delay" in out
        assert "0 to 3600000 ms" in out
        types = json.loads(seism("toxic", "types", "--json").out)
        latency = types["latency"]["attributes"]["latency"]
        assert (latency["unit"], latency["maximum"]) == ("ms", 3_600_000)
        assert list(json.loads(seism("toxic", "types", "timeout", "--json").out)) == ["timeout"]

    def test_a_reader_that_leaves(self, environment: dict[str, str]) -> None:
        script = (
            f'{sys.executable} -m seism toxic types --json | head -c 1; echo "${{PIPESTATUS[0]}}"'
        )
        done = subprocess.run(
            ["bash", "-c", script], env=environment, capture_output=True, text=True, timeout=60,
            check=True,
        )  # fmt: skip
        assert done.stderr == ""
        assert done.stdout[0] == "{"


@pytest.fixture
def events() -> Iterator[Events]:
    with serving() as server:
        yield server


def test_tail(events: Events, seism: Run) -> None:
    events.say(b": hello\n\n" + event(1, began(1)) + event(2, ended(1)) + event(3, ended(9)))
    out = seism("tail", "-n", "3", "--sidecar", events.address).out
    first, second, third = (line.split("  ")[1:] for line in out.splitlines())
    assert first == ["began", "db", "slow", "latency", "upstream"]
    assert second == ["ended", "db", "slow", "passed", "after 0.000 s"]
    assert third == ["ended", "?", "p9", "passed"]


def test_tail_for_scripts(events: Events, seism: Run) -> None:
    events.say(event(1, began(1)))
    events.say(b"event: missed\ndata: null\n\n" + event(2, ended(1)))
    done = seism("tail", "--json", "--count", "2", "--sidecar", events.address)
    kinds = [json.loads(line)["kind"] for line in done.out.splitlines()]
    assert kinds == ["perturbation.began", "perturbation.ended"]
    assert done.err == "seism: records were missed, the sidecar is another one\n"


def test_tail_until_it_is_interrupted(events: Events, environment: dict[str, str]) -> None:
    events.say(event(1, began(1)))
    with process(
        *(sys.executable, "-m", "seism", "tail", "--sidecar", events.address),
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=heed_interrupts,
    ) as child:  # fmt: skip
        assert child.stdout is not None
        # The line is there at once, though it goes into a pipe.
        assert b"began  db" in child.stdout.readline()
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=30)
        assert (child.returncode, out, err.strip()) == (130, b"", b"seism: interrupted")


def test_these_commands_load_no_gevent() -> None:
    script = (
        "import sys, runpy\n"
        "sys.argv = ['seism', 'toxic', 'list', '--sidecar', '127.0.0.1:1']\n"
        "try: runpy.run_module('seism', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "heavy = {'gevent', 'webob', 'jinja2', 'statsd', 'rich', 'seism_middleware.contract'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "[]\n"


def test_the_tail_names_the_exchange_instead_of_the_direction() -> None:
    began = {
        "kind": "perturbation.began", "perturbation": "p1", "proxy": "cache", "toxic": "f",
        "type": "redis_nil", "stream": "upstream", "client": "127.0.0.1:1", "offset": 7, "at": 1,
    }  # fmt: skip
    assert line(began, {}) == "began  cache  f  redis_nil  upstream  127.0.0.1:1  byte 7"
    began["exchange"] = {"number": 2, "kind": "GET"}
    assert line(began, {}) == "began  cache  f  redis_nil  GET  127.0.0.1:1  byte 7"
