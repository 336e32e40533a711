"""What the feed's records come to."""

from __future__ import annotations

from seism.watch.model import Model


def request(name: str, colour: str, at: float = 1.0) -> list[dict[str, object]]:
    return [
        {"kind": "request.ended", "request": name, "method": "GET", "route": "/", "began": at,
         "duration": 0.1, "status": 500, "body": "complete"},
        {"kind": "opinion", "request": name, "colour": colour, "reason": "500"},
    ]  # fmt: skip


def began(name: str, proxy: str, at: float) -> dict[str, object]:
    return {"kind": "perturbation.began", "perturbation": name, "proxy": proxy, "toxic": "t",
            "type": "latency", "at": at}  # fmt: skip


def attribution(name: str, perturbation: str) -> dict[str, object]:
    return {"kind": "attribution", "request": name, "perturbation": perturbation, "exact": True,
            "evidence": "ledger"}  # fmt: skip


def test_another_life_of_the_sidecar_counts_from_one_again() -> None:
    model = Model()
    for record in (began("p1", "db", 1.0), attribution("a", "p1"), *request("a", "red")):
        model.add(record, "one")
    assert model.active == 1
    for record in (began("p1", "cache", 9.0), *request("b", "amber", 9.0), attribution("b", "p1")):
        model.add(record, "two")
    assert model.active == 1, "what the first had begun is over"
    assert {key: (cell.colour, cell.requests) for key, cell in model.cells().items()} == {
        ("GET /", "db latency"): ("red", 1), ("GET /", "cache latency"): ("amber", 1),
    }  # fmt: skip


def test_it_holds_a_hundred_that_are_not_green_and_counts_all() -> None:
    model = Model()
    for number in range(300):
        for record in request(f"r{number}", "red"):
            model.add(record)
    assert len(model.bad) == 100 and model.counts["red"] == 300
    # An opinion that changes, of one that is shown and of one that is not.
    for name in ("r299", "r0"):
        model.add({"kind": "opinion", "request": name, "colour": "green"})
    assert model.counts == {"": 0, "green": 2, "amber": 0, "red": 298}
    assert len(model.bad) == 99


def test_what_is_remembered_has_a_bound() -> None:
    model = Model()
    for number in range(20_100):
        for record in request(f"r{number}", "green", float(number)):
            model.add(record)
    assert len(model._requests) == 20_000
    assert len(model.routes["GET /"]) <= 7200
    assert len(model.vitals["latency"]) <= 7200
