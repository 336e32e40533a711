"""Logins, captured values and commands around a run, against an app with sessions."""

from __future__ import annotations

import json
import os
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_string
from pathlib import Path
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest
import redis

from seism.errors import ConfigurationError
from seism.experiment.config import load as loaded
from seism.experiment.request import requests
from seism.experiment.user import Capture, Jar, Response, User, placeholders
from tests.experiment import session_app
from tests.experiment.test_load import load, segment, write
from tests.processes import ROOT
from tests.servers import Valkey
from tests.test_cli import Done, Seism


class Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def server() -> Iterator[WSGIServer]:
    with make_server("127.0.0.1", 0, session_app.application, handler_class=Quiet) as running:
        thread = Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


FORM_LOGIN = """
[[setup.login]]
path = "/login"
capture = { token = "form:token" }
[[setup.login]]
method = "POST"
path = "/login"
form = { password = "s3cret-pa55", token = "{token}" }
capture = { session = "cookie:session", csrf = "cookie:csrf" }
"""
TOKEN_LOGIN = """
[setup]
headers = { Authorization = "Bearer {token}" }
[[setup.login]]
method = "POST"
path = "/token"
json = { password = "s3cret-pa55" }
capture = { token = "json:$.access" }
"""


def experiment(folder: Path, text: str) -> dict[str, Any]:
    """What the load's process is told for a file with ``text``."""
    path = folder / "seism.toml"
    path.write_text(text, encoding="utf-8")
    found = loaded(path, {"PASSWORD": "s3cret-pa55"})
    assert found.load is not None
    return requests(found.load, found.setup, folder)


@contextmanager
def running(server: Any, folder: Path, text: str, **more: Any) -> Iterator[Any]:
    with load(server, **experiment(folder, text), **more) as process:
        yield process


def statuses(answer: dict[str, Any]) -> dict[str, dict[str, int]]:
    return {name: figures["statuses"] for name, figures in answer["routes"].items()}


def test_a_form_with_csrf_and_its_cookies(server: WSGIServer, tmp_path: Path) -> None:
    routes = """
[[load.route]]
path = "/me"
[[load.route]]
method = "POST"
path = "/save"
headers = { X-CSRF = "{csrf}" }
"""
    with running(server, tmp_path, FORM_LOGIN + routes, workers=2) as process:
        _, answer = segment(process, "steady", 4)
    assert statuses(answer) == {
        "GET /login": {"200": 2},
        "POST /login": {"302": 2},
        "GET /me": {"200": 4},
        "POST /save": {"200": 4},
    }
    assert "logins" not in answer
    ids = [request for request, *_ in answer["clients"]]
    assert len(set(ids)) == answer["requests"] == 12


@pytest.mark.parametrize(
    ("login", "path", "why"),
    [(FORM_LOGIN, "/me", "GET /me: 302 to /login"), (TOKEN_LOGIN, "/api", "GET /api: 401")],
)
def test_a_worker_that_was_logged_out_logs_in_again(
    server: WSGIServer, tmp_path: Path, login: str, path: str, why: str
) -> None:
    text = f'{login}\n[[load.route]]\npath = "{path}"\n'
    with running(server, tmp_path, text, workers=2) as process:
        _, first = segment(process, "warmup", 2)
        session_app.sessions.forget()
        _, answer = segment(process, "steady", 3)
    assert "logins" not in first and first["routes"][f"GET {path}"]["statuses"] == {"200": 4}
    # The client that was refused is told as that; the worker then goes on.
    assert answer["logins"] == {"again": {why: 2}, "failed": {}}
    refused = {"302": 2} if path == "/me" else {"401": 2}
    assert answer["routes"][f"GET {path}"]["statuses"] == {"200": 4, **refused}


def test_a_login_is_renewed_in_time(server: WSGIServer, tmp_path: Path) -> None:
    text = f'{TOKEN_LOGIN}\n[[load.route]]\npath = "/api"\n'
    text = text.replace("[setup]", "[setup]\nlasts_s = 0.000001")
    with running(server, tmp_path, text, workers=1) as process:
        _, answer = segment(process, "steady", 3)
    assert statuses(answer) == {"POST /token": {"200": 3}, "GET /api": {"200": 3}}
    assert "logins" not in answer


def test_a_login_that_fails_is_said_and_names_no_value(server: WSGIServer, tmp_path: Path) -> None:
    wrong = FORM_LOGIN.replace("s3cret-pa55", "wr0ng-pa55")
    with running(server, tmp_path, wrong + '[[load.route]]\npath = "/me"\n') as process:
        _, answer = segment(process, "warmup", 1)
    assert set(answer["logins"]["failed"]) == {"POST /login: 200, unexpected: no cookie:session"}
    assert "wr0ng" not in json.dumps(answer)


def test_basic_authentication(server: WSGIServer, tmp_path: Path) -> None:
    text = '[setup]\nbasic = "reader:s3cret-pa55"\n[[load.route]]\npath = "/basic"\n'
    with running(server, tmp_path, text) as process:
        _, answer = segment(process, "steady", 2)
    assert statuses(answer) == {"GET /basic": {"200": 6}}


def test_each_worker_has_its_account(server: WSGIServer, tmp_path: Path) -> None:
    (tmp_path / "accounts.csv").write_text("password\ns3cret-pa55\nwrong\n", encoding="utf-8")
    text = TOKEN_LOGIN.replace("s3cret-pa55", "{password}")
    text = text.replace("[setup]", '[setup]\naccounts = "accounts.csv"')
    with running(server, tmp_path, f'{text}[[load.route]]\npath = "/api"\n', workers=2) as process:
        _, answer = segment(process, "steady", 2)
    assert answer["routes"]["POST /token"]["statuses"]["200"] == 1
    assert answer["routes"]["GET /api"]["statuses"] == {"200": 2, "401": 2}


SCENARIO = """
[load]
data = "items.csv"
[[load.route]]
path = "/ready?{item}&{unique}&{now}&{uuid}"
[[load.scenario]]
weight = 2
[[load.scenario.step]]
method = "POST"
path = "/orders"
json = { key = "{unique}", what = ["{item}"] }
capture = { id = "header:Location /orders/([0-9]+)", order = "header:Location" }
[[load.scenario.step]]
path = "/orders/{id}"
expect = { json = { "$.what[0]" = "tea" } }
capture = { key = "json:$.key" }
[[load.scenario.step]]
method = "DELETE"
path = "{order}"
headers = { X-Key = "{key}" }
"""


def test_the_steps_of_a_scenario_are_sent_in_order(server: WSGIServer, tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item\ntea\n", encoding="utf-8")
    with running(server, tmp_path, SCENARIO, workers=1) as process:
        _, answer = segment(process, "steady", 14)
    assert answer["requests"] == 14
    assert {name: figures["count"] for name, figures in answer["routes"].items()} == {
        "GET /ready?{item}&{unique}&{now}&{uuid}": 3,
        "POST /orders": 4,
        "GET /orders/{id}": 4,
        "DELETE {order}": 3,
    }
    steps = [name for _, name, *_ in answer["clients"] if "ready" not in name]
    assert steps[:4] == ["POST /orders", "GET /orders/{id}", "DELETE {order}", "POST /orders"]
    assert {status for found in statuses(answer).values() for status in found} == {"200", "201"}
    assert "tea" not in json.dumps(answer["clients"])
    session_app.orders.clear()


def test_a_step_that_fails_begins_the_scenario_anew(server: WSGIServer, tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item\ncoffee\n", encoding="utf-8")
    with running(server, tmp_path, SCENARIO, workers=1) as process:
        _, answer = segment(process, "steady", 14)
    assert {name: figures["count"] for name, figures in answer["routes"].items()} == {
        "GET /ready?{item}&{unique}&{now}&{uuid}": 3,
        "POST /orders": 6,
        "GET /orders/{id}": 5,
    }
    session_app.orders.clear()


def test_one_step_alone_has_the_values_that_it_needs(server: WSGIServer, tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item\ntea\n", encoding="utf-8")
    with running(server, tmp_path, SCENARIO, workers=1) as process:
        write(process, {"segment": "steady", "requests": 4, "route": 2})
        answer = json.loads(process.stdout.readline())
        write(process, {"segment": "steady", "requests": 2, "route": 3})
        removed = json.loads(process.stdout.readline())
    assert {name: figures["count"] for name, figures in answer["routes"].items()} == {
        "POST /orders": 1,
        "GET /orders/{id}": 4,
    }
    assert statuses(removed)["DELETE {order}"] == {"200": 1, "404": 1}
    session_app.orders.clear()


def test_multipart_and_other_bodies(server: WSGIServer, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"\x00\xff")
    text = """
[[load.scenario]]
[[load.scenario.step]]
method = "POST"
path = "/orders"
form = { note = "café {unique}" }
files = { picture = "a.bin" }
capture = { id = "header:Location" }
[[load.scenario.step]]
path = "{id}"
capture = { note = "header:X-None" }
[[load.scenario]]
[[load.scenario.step]]
method = "POST"
path = "/orders"
headers = { Content-Type = "text/xml" }
body = "<a>café {id}</a>"
"""
    with running(server, tmp_path, text, workers=1) as process:
        _, answer = segment(process, "steady", 6)
    unexpected = {(name, odd) for _, name, _, _, _, _, _, _, odd, *_ in answer["clients"]}
    assert unexpected == {("POST /orders", ""), ("GET {id}", "no header:X-None")}
    assert "<a>café {id}</a>" in session_app.orders.values()
    sent = next(text for text in session_app.orders.values() if "form-data" in text)
    message = message_from_string(
        f"Content-Type: multipart/form-data; boundary={sent[2:32]}\n\n{sent}"
    )
    parts = {part.get_param("name", header="content-disposition"): part for part in message.walk()}
    assert parts["picture"].get_filename() == "a.bin"
    assert str(parts["note"].get_payload()).startswith("café ")
    session_app.orders.clear()


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("json:$.items[0].id", "7"),
        ("json:$.name", "a name"),
        ("json:$.none", None),
        ("header:location", "/orders/17/?a=b"),
        ("header:Location /orders/([0-9]+)", "17"),
        ("header:Location /items/([0-9]+)", None),
        ("cookie:session", "abc"),
        ("cookie:gone", None),
    ],
)
def test_captures(source: str, value: str | None) -> None:
    headers = [
        ("Location", "https://shop.test/orders/17/?a=b"),
        ("Set-Cookie", "session=abc; Path=/; Expires=Wed, 09 Jun 2100 10:18:14 GMT; Secure"),
        ("Set-Cookie", "gone=; Max-Age=0"),
    ]
    response = Response(201, headers, b'{"items": [{"id": 7}], "name": "a name"}')
    jar = Jar()
    jar.take(response)
    assert Capture.of(source, "capture").value(response, jar) == value
    assert jar.header() == "session=abc"


def test_a_hidden_field_is_captured() -> None:
    page = b'<form><input type=hidden name="csrf" value="a&amp;b"><input name="q"></form>'
    assert Capture.of("form:csrf", "").value(Response(200, (), page), Jar()) == "a&b"
    assert Capture.of("form:q", "").value(Response(200, (), page), Jar()) is None


def test_a_value_that_is_hostile_breaks_no_request() -> None:
    user = User({"token": "a\r\nX-Evil: 1\u20ac"}, {}, keeps_cookies=False)
    request = tomllib.loads('path = "/a/{token}"\nheaders = { A = "{token}" }\nbody = "{token}{x}"')
    step = type("Request", (), {"json": None, "form": {}, "files": {}, **request})
    message = user.message(step)
    assert message.path == "/a/a%0D%0AX-Evil:%201%E2%82%AC"
    assert message.headers["A"].encode("latin-1").decode() == "aX-Evil: 1\u20ac"
    assert message.body == "a\r\nX-Evil: 1\u20ac{x}".encode()
    assert placeholders("{a} ${B} {c d} {e}") == ["a", "e"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[load.route]]\npath = "orders"', "path: expected a path that begins with /"),
        ('[[load.route]]\npath = "/"\nmethod = "GTE"', "unknown method 'GTE'; did you mean 'GET'"),
        ('[[load.route]]\npath = "/{id}"', r"GET /{id}: nothing gives {id} a value"),
        ('[[load.route]]\npath = "/"\nbody = "a"\njson = 1', "expected one of body, json and form"),
        ('[[load.route]]\npath = "/"\nfiles = { a = "none.txt" }', "no file none.txt"),
        ('[setup]\naccounts = "a.csv"\n[[load.route]]\npath = "/"', "a.csv: No such file"),
        ('[setup]\nheaders = { A = "{b}" }\n[[load.route]]\npath = "/"', r"nothing captures {b}"),
        (
            '[[setup.login]]\npath = "/"\ncapture = { a = "xml:b" }\n[[load.route]]\npath = "/"',
            "capture: a: expected json:",
        ),
        ("[[load.scenario]]\nstep = []", "expected at least one"),
        (
            '[[load.scenario]]\nstep = [{ path = "/{a}", capture = { a = "header:A" } }]',
            r"GET /{a}: nothing gives",
        ),
        ('[load]\ndata = "."\nworkers = 1', r"expected a \[\[load.route\]\] or"),
        ('[setup]\nbasic = "${NONE}"\n[[load.route]]\npath = "/"', "environment has no NONE"),
    ],
)
def test_what_check_says(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message.replace("{", r"\{")):
        experiment(tmp_path, text)


def test_values_of_the_environment_stay_out_of_names(tmp_path: Path) -> None:
    path = tmp_path / "seism.toml"
    path.write_text('[[load.route]]\npath = "/?key=${PASSWORD}"\n', encoding="utf-8")
    found = loaded(path, {"PASSWORD": "s3cret-pa55"})
    assert found.load is not None
    assert [route.name for route in found.load.route] == ["GET /?key=${PASSWORD}"]


RUN = f"""
[setup]
before = ["echo before $STORE > {{folder}}/before", "test -n \\"$PASSWORD\\""]
after = ["echo after >> {{folder}}/before"]
[app]
command = ["{sys.executable}", "-m", "waitress", "--listen=127.0.0.1:{{{{port}}}}",
           "--threads=4", "tests.experiment.session_app:app"]
ready = "/ready"
cwd = "{ROOT}"
env = {{{{ SESSIONS = "{{{{cache.address}}}}", STORE = "{{{{cache.address}}}}" }}}}
[[backend]]
name = "cache"
upstream = "${{{{CACHE}}}}"
[load]
workers = 2
steady = 8
during = 4
after = 4
again = 4
pause_ms = 5
[[load.route]]
path = "/me"
[[perturbation]]
name = "away"
backend = "cache"
type = "down"
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Done, Path, str]]:
    """A run on an app that takes everybody for logged out while its cache is away."""
    folder = tmp_path_factory.mktemp("setup")
    text = RUN.replace("{{", "{").replace("}}", "}").replace("{folder}", str(folder))
    text += FORM_LOGIN.replace("s3cret-pa55", "${PASSWORD}")
    (folder / "seism.toml").write_text(text, encoding="utf-8")
    with Valkey() as cache:
        seism = Seism(folder, f"127.0.0.1:{cache.port}")
        seism.env |= {"PASSWORD": session_app.PASSWORD, "PYTHONPATH": str(ROOT)}
        yield seism.run("run"), folder, seism.env["CACHE"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("{csrf}", "{csrf}", "seism.toml: setup.login: POST /login: 403: expected a login"),
        ("${PASSWORD}", "wr0ng-pa55", "POST /login: 200, unexpected: no cookie:session"),
        ('path = "/me"', 'path = "/nope"', "GET /nope: every answer of the control run was 404"),
    ],
)
def test_what_ends_a_run_before_anything_is_perturbed(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    text = RUN.replace("{{", "{").replace("}}", "}").replace("{folder}", str(tmp_path))
    text += FORM_LOGIN.replace("s3cret-pa55", "${PASSWORD}")
    if old == "{csrf}":
        text = text.replace('token = "{token}"', 'token = "other"')
    (tmp_path / "seism.toml").write_text(text.replace(old, new), encoding="utf-8")
    with Valkey() as cache:
        seism = Seism(tmp_path, f"127.0.0.1:{cache.port}")
        seism.env |= {"PASSWORD": session_app.PASSWORD, "PYTHONPATH": str(ROOT)}
        result = seism.run("run")
    assert result.code == 3
    assert said in " ".join((result.out + result.err).split())
    assert "wr0ng" not in result.out + result.err
    assert (tmp_path / "before").read_text(encoding="utf-8").endswith("after\n")


def test_a_perturbation_that_logs_everybody_out_is_red_and_said(
    done: tuple[Done, Path, str],
) -> None:
    result, folder, _ = done
    assert result.code == 1, result.out + result.err
    report = json.loads((folder / "seism-report" / "report.json").read_text(encoding="utf-8"))
    cells = {cell["route"]: cell for cell in report["cells"]}
    assert cells["GET /me"]["colour"] == "red"
    assert any(
        "during away: workers of the load were logged out" in warning
        and "GET /me: 302 to /login" in warning
        for warning in report["warnings"]
    )


def test_no_credential_is_written_anywhere(done: tuple[Done, Path, str]) -> None:
    result, folder, cache = done
    host, _, port = cache.rpartition(":")
    with redis.Redis(host=host, port=int(port)) as client:
        secrets = [key.decode().removeprefix("session:") for key in client.keys("session:*")]
    assert secrets
    written = [path for path in (folder / "seism-report").rglob("*") if path.is_file()]
    assert {"journal.jsonl", "report.html", "junit.xml"} <= {path.name for path in written}
    texts = [result.out, result.err, *(path.read_text("utf-8") for path in written)]
    for secret in (session_app.PASSWORD, *secrets):
        assert not [text for text in texts if secret in text]


def test_commands_run_before_and_after_and_talk_to_the_backend_itself(
    done: tuple[Done, Path, str],
) -> None:
    _, folder, cache = done
    assert (folder / "before").read_text(encoding="utf-8") == f"before {cache}\nafter\n"
    assert os.stat(folder / "seism-report" / "setup.log").st_mode & 0o077 == 0
