"""seism.toml: what is right is read, what is wrong is one clear line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from seism.errors import ConfigurationError
from seism.experiment.config import Backend, Experiment, Planned, fill, load, toxic_of
from seism.experiment.plan import Step, make
from seism.model import Match, PlannedStep
from seism.options import build

WHOLE = """
seed = 5
[app]
command = "pserve app.ini http_port={port}"
url = "http://127.0.0.1:{port}"
ready = "/up"
env = { DB = "postgresql://{db.address}/x", TOKEN = "${SECRET}" }
[[backend]]
name = "db"
upstream = "${DB}"
[[backend]]
name = "cache"
upstream = "localhost:6379"
[load]
workers = 4
steady = 10
during = 5
after = 6
[[load.route]]
path = "/items/7"
weight = 2
[[perturbation]]
name = "db slow"
backend = "db"
type = "latency"
attributes = { latency = 100 }
[[perturbation]]
name = "db down"
backend = "db"
type = "down"
[rules]
recover_s = 3
[rules.route."GET /gateway"]
allow = [502, 504]
"""
ENVIRON = {"DB": "127.0.0.1:5432", "SECRET": "s3cret"}


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "seism.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_whole_file(tmp_path: Path) -> None:
    experiment = load(write(tmp_path, WHOLE), ENVIRON)
    assert experiment.app is not None
    assert experiment.app.command == ("pserve", "app.ini", "http_port={port}")
    assert experiment.app.env["TOKEN"] == "s3cret"
    assert [proxy.upstream for proxy, _ in experiment.proxies()] == [
        "127.0.0.1:5432",
        "localhost:6379",
    ]
    assert experiment.rules.of("GET /gateway").allow == (502, 504)
    assert experiment.rules.of("GET /gateway").recover_s == 3
    slow = toxic_of(experiment.perturbation[0])
    assert (slow.type, slow.name, slow.stream) == ("latency", "db slow", "upstream")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[rules]", "[ruels]", "seism.toml: unknown key 'ruels'; did you mean 'rules'?"),
        ("workers =", "worker =", "load: unknown key 'worker'; did you mean 'workers'?"),
        ("workers = 4", "workers = 0", "load.workers: 0 is not allowed, it must be 1 to 256"),
        ("workers = 4", "workers = '4'", "load.workers: '4' is not allowed"),
        ("latency = 100", "latncy = 1", "attributes: unknown key 'latncy'; did you mean 'latency'"),
        ("latency = 100", "latency = -1", "attributes.latency: -1 is not allowed"),
        ('type = "latency"', 'type = "latecny"', "did you mean 'latency'?"),
        ('backend = "db"', 'backend = "bd"', "there is no backend 'bd'; did you mean 'db'?"),
        ('name = "cache"', 'name = "db"', "backend 'db' is there twice"),
        ("localhost:6379", "localhost", "backend 'cache': upstream: 'localhost' is not an address"),
        ("${DB}", "${DBX}", "the environment has no DBX"),
        ('path = "/items/7"', "", "load.route[0]: missing required key 'path'"),
        ('type = "down"', 'type = "down"\nroute = "GET /item"', "no [[load.route]] 'GET /item'"),
        ('"GET /gateway"', '"/gateway"', "route '/gateway' is not allowed"),
        ("seed = 5", "seed = ", "Invalid value (at line 2"),
        ("allow = [502, 504]", "allow = [50]", "allow[0]: 50 is not allowed, it must be at least"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in WHOLE
    with pytest.raises(ConfigurationError) as raised:
        load(write(tmp_path, WHOLE.replace(old, new, 1)), ENVIRON)
    said = str(raised.value)
    assert message in said
    assert said.startswith(str(tmp_path / "seism.toml"))
    assert "\n" not in said
    assert "s3cret" not in said


FRONT = """
[front]
[load]
[[load.route]]
path = "/orders"
method = "POST"
action = { count = "/done/{key}" }
[app]
command = "node app.js {port}"
url = "http://127.0.0.1:{port}/shop"
[[perturbation]]
name = "half"
backend = "front"
type = "limit_data"
stream = "downstream"
"""


def test_a_front(tmp_path: Path) -> None:
    experiment = load(write(tmp_path, FRONT), {})
    assert experiment.front is not None and experiment.proxies() == ()
    with pytest.raises(ConfigurationError, match="front: app is needed"):
        experiment.front.proxy(experiment.in_front())
    placed = experiment.with_front({"app": "http://localhost:81/shop", "bad_gateway": True})
    assert placed.front is not None
    proxy = placed.front.proxy(placed.in_front())
    assert (proxy.name, proxy.upstream) == ("front", "localhost:81")
    assert proxy.front is not None and proxy.front.bad_gateway
    (step,) = make(experiment, 1)
    assert step.to_dict()["front"] is True


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[front]", "[front]\napp = 'ftp://x'", "front: app: 'ftp://x' is not allowed, http://"),
        ("[front]", "[front]\napp = 'http://x:0'", "front: app: 'http://x:0' has no port"),
        ("[front]", "[front]\nlisten = 'x'", "front: listen: 'x' is not an address"),
        ("[front]", "[front]\ntoxic = [{ type = 'x' }]", "front: toxic 'x_downstream': type:"),
        ("[front]", "", "there is no backend 'front'"),
        ("/done/{key}", "/done", "action: count: '/done' has no {key}"),
        ("[load]", "[[backend]]\nname = 'front'\nupstream = 'a:1'\n[load]", "the name of [front]"),
    ],
)
def test_what_is_wrong_with_a_front(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        load(write(tmp_path, FRONT.replace(old, new, 1)), {})
    assert message in str(raised.value) and "\n" not in str(raised.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        load(tmp_path / "seism.toml")


def test_placeholders() -> None:
    values = {"port": "80", "db.address": "127.0.0.1:5432"}
    assert fill("x {port} {db.address} {}", values, "here") == "x 80 127.0.0.1:5432 {}"
    with pytest.raises(ConfigurationError, match=r"here: unknown placeholder \{db.adress\}; did"):
        fill("{db.adress}", values, "here")


USUAL = ("restart", "half-open", "late", "impatient", "slow", "reset", "down")


def test_without_perturbations_each_backend_gets_the_usual_ones(tmp_path: Path) -> None:
    text = WHOLE[: WHOLE.index("[[perturbation]]")]
    names = [planned.name for planned in load(write(tmp_path, text), ENVIRON).planned()]
    assert names == [f"{b} {what}" for b in ("db", "cache") for what in USUAL]


def test_a_protocol_with_last_words_says_them(tmp_path: Path) -> None:
    text = '[[backend]]\nname = "db"\nupstream = "127.0.0.1:5432"\nprotocol = "postgresql"\n'
    planned = load(write(tmp_path, text), {}).planned()
    assert [each.type for each in planned][:2] == ["restart", "goodbye"]
    assert len(planned) == len(USUAL) + 1


def test_a_fault_on_a_kind_that_gets_no_reply_is_refused(tmp_path: Path) -> None:
    text = """
[[backend]]
name = "db"
upstream = "127.0.0.1:5432"
protocol = "postgresql"
[[perturbation]]
name = "hang"
backend = "db"
type = "exchange_hang"
exchange = { kind = "terminate" }
"""
    with pytest.raises(ConfigurationError, match=r"exchange\.kind: terminate gets no reply"):
        load(write(tmp_path, text), {})


def test_what_is_sized_by_a_slow_backend_comes_last(tmp_path: Path) -> None:
    text = WHOLE[: WHOLE.index("[[perturbation]]")]
    steps = make(load(write(tmp_path, text), ENVIRON), seed=3)
    assert [step.planned.type for step in steps][-4:].count("late") == 2


def test_the_plan_is_the_seed_s(tmp_path: Path) -> None:
    text = WHOLE[: WHOLE.index("[[perturbation]]")]
    experiment = load(write(tmp_path, text), ENVIRON)
    plans = {seed: [step.to_dict() for step in make(experiment, seed)] for seed in range(20)}
    assert plans[3] == [step.to_dict() for step in make(experiment, 3)]
    assert len({str(plan) for plan in plans.values()}) > 10
    assert all(sorted(s["name"] for s in p) == sorted(s["name"] for s in plans[0])
               for p in plans.values())  # fmt: skip
    assert plans[0][0]["during"] == 20


def test_down_is_named_as_its_records_are() -> None:
    dead = Planned("dead", "db", "down")
    backends = (Backend("db", "127.0.0.1:1"),)
    (step,) = make(Experiment(backend=backends, perturbation=(dead,)), 1)
    assert (step.toxic, step.to_dict()["toxic"]) == ("down", "down")


def test_a_perturbation_can_be_for_some_connections_only() -> None:
    values = {"name": "a", "backend": "b", "type": "refuse", "connections": 3}
    planned = build(Planned, {**values, "match": {"client": ["10.0.0.0/8"]}}, "perturbation")
    spec = toxic_of(planned)
    assert (spec.match, spec.connections) == (Match(client=("10.0.0.0/8",)), 3)
    step = Step(0, planned, 1, 1).to_dict()
    assert step["match"]["client"] == ("10.0.0.0/8",)
    assert step["connections"] == 3
    plain = Step(0, Planned("a", "b", "noop"), 1, 1).to_dict()
    assert not {"match", "connections"} & set(plain)


def test_a_planned_step_is_the_same_after_json() -> None:
    partner = Planned("b", "cache", "latency")
    planned = Planned("a", "db", "down", at=0, lasting=5, exchange={"nth": 2}, turn=3)
    for step in (Step(0, planned, 1, 2, True, partner), Step(0, partner, 1, 1)):
        recorded = step.recorded()
        assert PlannedStep.from_dict(json.loads(json.dumps(step.to_dict()))) == recorded
    assert PlannedStep.from_dict({"name": "a", "backend": "b", "type": "c", "new": 1}).name == "a"
    for wrong in ({"name": "a"}, {**step.to_dict(), "partner": {"backend": "b"}}):
        with pytest.raises(ConfigurationError, match="not a planned perturbation"):
            PlannedStep.from_dict(wrong)
