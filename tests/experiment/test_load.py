"""The deck as a pure function, and the process against a real server."""

from __future__ import annotations

import itertools
import json
import signal
import socketserver
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seism.experiment.load import arrivals, deal, quantile, shares
from seism.rng import Seed
from seism_middleware.contract import CLIENT_HEADER, client_id

weights = st.lists(st.integers(1, 20), min_size=1, max_size=12)


def streams(seed: int, workers: int) -> list[Any]:
    return [Seed(seed).stream("load", worker) for worker in range(workers)]


@given(weights, st.integers(1, 9), st.integers(1, 40), st.integers())
def test_every_worker_gets_its_requests_and_every_route_occurs(
    of_routes: list[int], workers: int, requests: int, seed: int
) -> None:
    if workers * requests < len(of_routes):
        with pytest.raises(ValueError, match="cannot cover"):
            deal(of_routes, requests, streams(seed, workers))
        return
    hands = deal(of_routes, requests, streams(seed, workers))
    assert [len(hand) for hand in hands] == [requests] * workers
    dealt = Counter(card for hand in hands for card in hand)
    assert [dealt[route] for route in range(len(of_routes))] == shares(
        of_routes, workers * requests
    )
    assert deal(of_routes, requests, streams(seed, workers)) == hands


@given(weights, st.integers(2, 9), st.integers(12, 40), st.integers())
def test_each_route_is_spread_evenly_over_the_workers(
    of_routes: list[int], workers: int, requests: int, seed: int
) -> None:
    counts = [Counter(hand) for hand in deal(of_routes, requests, streams(seed, workers))]
    for route in range(len(of_routes)):
        of_workers = [count[route] for count in counts]
        assert max(of_workers) - min(of_workers) <= 1


@given(weights, st.integers(12, 500))
def test_shares_are_proportional(of_routes: list[int], cards: int) -> None:
    counts = shares(of_routes, cards)
    assert sum(counts) == cards
    spare = cards - len(of_routes)
    for weight, count in zip(of_routes, counts, strict=True):
        assert abs(count - 1 - spare * weight / sum(of_routes)) <= 1


def test_another_seed_is_another_order() -> None:
    assert deal([1, 1], 20, streams(1, 2)) != deal([1, 1], 20, streams(2, 2))


def test_quantiles_are_values_that_occurred() -> None:
    assert quantile([1.0, 2.0, 3.0, 4.0], 0.5) == 2.0
    assert quantile([1.0, 2.0, 3.0, 4.0], 0.99) == 4.0
    assert quantile([1.0], 0.5) == 1.0


class Handler(BaseHTTPRequestHandler):
    """Routes: ``/ok``, ``/503``, ``/short`` (too few bytes), ``/none``, ``/head`` (half of one).

    ``/act/<kind>`` is an action, ``/count/<key>`` tells how often it was done.

    After ``/500`` it closes without a word, a moment after the response.
    """

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.seen.append((self.path, self.headers.get("X-A")))
        self.server.ids.append(self.headers.get(CLIENT_HEADER))
        if self.path == "/none":
            self.close_connection = True
            return
        if self.path == "/head":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Le")
            self.close_connection = True
            return
        if self.path.startswith("/count/"):
            self.count(self.path.removeprefix("/count/"))
            return
        if self.path.startswith("/slow"):
            with self.server.slow():
                time.sleep(0.3)
        self.send_response({"/503": 503, "/500": 500}.get(self.path, 200))
        self.send_header("Content-Length", "10")
        self.end_headers()
        with suppress(ConnectionError):
            self.wfile.write(b"12345" if self.path == "/short" else b"1234567890")
        self.close_connection = self.path in ("/short", "/500")
        if self.path == "/500":
            time.sleep(0.02)

    def count(self, key: str) -> None:
        kinds = [kind for kind, seen in self.server.acted if seen == key]
        body = {"lost": b"0", "mute": b"?"}.get(kinds[0], b"%d" % len(kinds))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        if self.path.startswith("/act/"):
            kind, key = self.path.removeprefix("/act/"), self.headers["X-Key"]
            first = (kind, key) not in self.server.acted
            self.server.acted.append((kind, key))
            if kind == "again" and first:
                self.close_connection = True
                return
        self.server.seen.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[Any] = []
        self.ids: list[str | None] = []
        self.acted: list[tuple[str, str]] = []
        self.accepted = 0
        self.under_way = self.most_under_way = 0
        self.lock = threading.Lock()

    @contextmanager
    def slow(self) -> Iterator[None]:
        with self.lock:
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
        yield
        with self.lock:
            self.under_way -= 1

    def get_request(self) -> Any:
        self.accepted += 1
        return socketserver.TCPServer.get_request(self)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        threading.Thread(target=running.serve_forever, args=(0.01,)).start()
        yield running
        running.shutdown()


@contextmanager
def load(server: Server, routes: list[dict[str, Any]], **more: Any) -> Iterator[Any]:
    argv = [sys.executable, "-m", "seism.experiment.load"]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            config = {"url": f"http://127.0.0.1:{server.server_port}", "workers": 3, "seed": 1}
            write(process, {**config, "pause_ms": 1, "routes": routes, **more})
            yield process
        finally:
            process.kill()


def write(process: Any, order: dict[str, Any]) -> None:
    process.stdin.write(json.dumps(order) + "\n")
    process.stdin.flush()


def segment(process: Any, name: str, requests: int) -> tuple[list[Any], dict[str, Any]]:
    write(process, {"segment": name, "requests": requests})
    progress, clients = [], []
    while "progress" in (answer := json.loads(process.stdout.readline())):
        progress.append(answer)
        clients += answer.get("clients", [])
    answer["clients"] = clients + answer.get("clients", [])
    return progress, answer


def route(path: str, **more: Any) -> dict[str, Any]:
    return {"method": "GET", "path": path, "weight": 1, **more}


def test_each_request_is_sent_once_and_counted_once(server: Server) -> None:
    routes = [route("/ok", weight=3), route("/503"), route("/short"), route("/none")]
    with load(server, routes) as process:
        _, answer = segment(process, "steady", 20)
        sent = Counter(path for path, _ in server.seen)
        assert (answer["segment"], answer["requests"]) == ("steady", 60)
        figures = answer["routes"]
        assert {name: figure["count"] for name, figure in figures.items()} == {
            f"GET {path}": count for path, count in sent.items()
        }
        assert figures["GET /ok"]["statuses"] == {"200": sent["/ok"]}
        assert figures["GET /503"]["statuses"] == {"503": sent["/503"]}
        assert figures["GET /short"]["truncated"] == sent["/short"]
        assert figures["GET /none"]["no_response"] == sent["/none"]
        for figure in figures.values():
            assert 0 < figure["p50"] <= figure["p99"] <= figure["max"]


def ended(answer: dict[str, Any], path: str) -> set[tuple[str, int | None]]:
    """(outcome, status) of the requests of ``path``, as their clients saw it."""
    return {
        (outcome, status)
        for _, route, _, _, outcome, status, *_ in answer["clients"]
        if route == f"GET {path}"
    }


def test_each_request_has_an_id_and_is_told_as_its_client_saw_it(server: Server) -> None:
    routes = [route(path) for path in ("/ok", "/503", "/short", "/none", "/head", "/slow")]
    before = time.monotonic()
    with load(server, routes, timeout_s=0.2) as process:
        _, answer = segment(process, "steady", 20)
    ids = [request for request, *_ in answer["clients"]]
    assert len(set(ids)) == answer["requests"] == 60
    assert sorted(ids) == sorted(filter(None, server.ids))
    assert all(map(client_id, ids))
    assert ended(answer, "/ok") == {("complete", 200)}
    assert ended(answer, "/503") == {("complete", 503)}
    assert ended(answer, "/short") == {("cut", 200)}
    assert ended(answer, "/none") <= {("nothing", None), ("stale", None)}
    assert ended(answer, "/head") == {("nothing", None)}
    assert ended(answer, "/slow") == {("timed out", None)}
    assert all(before < at < at + seconds for _, _, at, seconds, *_ in answer["clients"])


def test_equal_answers_have_one_content_and_its_parts_are_told_once(server: Server) -> None:
    with load(server, [route("/ok")]) as process:
        _, answer = segment(process, "steady", 20)
    contents = {content for *_, content, _ in answer["clients"]}
    told = [parts for *_, parts in answer["clients"] if parts]
    assert len(contents) == 1
    assert [set(parts) for parts in told] == [{"type", "body"}]
    assert "1234567890" not in json.dumps(answer["clients"])


def test_what_is_expected_is_checked(server: Server) -> None:
    expects = ({"text": "345"}, {"text": "pot"})
    routes = [
        route(f"/ok?{number}", expect={"statuses": [], "json": {}, **expect})
        for number, expect in enumerate(expects)
    ]
    with load(server, routes) as process:
        _, answer = segment(process, "steady", 4)
    found = {(row[1], row[8]) for row in answer["clients"]}
    assert found == {("GET /ok?0", ""), ("GET /ok?1", "its text")}


def test_ids_can_be_turned_off(server: Server) -> None:
    with load(server, [route("/ok")], request_ids=False) as process:
        _, answer = segment(process, "steady", 2)
    assert answer["clients"] == []
    assert server.ids == [None] * 6


def test_a_head_without_its_end_is_no_response(server: Server) -> None:
    with load(server, [route("/head")]) as process:
        _, answer = segment(process, "steady", 2)
        assert answer["routes"]["GET /head"]["no_response"] == 6


def test_actions_are_sent_again_and_asked_for(server: Server) -> None:
    action = {"header": "X-Key", "retries": 3, "count": "/count/{key}"}
    orders = {"method": "POST", "weight": 1, "body": "", "action": action}
    routes = [{**orders, "path": f"/act/{kind}"} for kind in ("once", "again", "lost", "mute")]
    with load(server, routes) as process:
        segment(process, "steady", 4)
        write(process, {"check": "steady"})
        answer = json.loads(process.stdout.readline())
        write(process, {"check": "again"})
        assert json.loads(process.stdout.readline())["actions"]["POST /act/once"]["sent"] == 0
    assert answer["check"] == "steady"
    fine = {"sent": 3, "retried": 0, "acknowledged": 3, "twice": 0, "lost": 0, "unknown": 0}
    assert answer["actions"] == {
        "POST /act/once": fine,
        "POST /act/again": {**fine, "retried": 3, "twice": 3},  # done, and its response lost
        "POST /act/lost": {**fine, "lost": 3},
        "POST /act/mute": {**fine, "unknown": 3},
    }


def test_a_server_that_closes_after_a_failure_loses_no_request(server: Server) -> None:
    with load(server, [route("/500"), route("/ok")]) as process:
        _, answer = segment(process, "steady", 20)
        assert sum(figures["no_response"] for figures in answer["routes"].values()) == 0
    assert {row[4] for row in answer["clients"]} == {"complete"}


def test_a_connection_is_kept_after_a_failure(server: Server) -> None:
    with load(server, [route("/503")]) as process:
        segment(process, "steady", 5)
    assert server.accepted == 3


def test_connections_are_kept(server: Server) -> None:
    with load(server, [route("/ok")]) as process:
        segment(process, "steady", 5)
        segment(process, "during", 5)
        assert server.accepted == 3


def test_method_headers_and_body_are_sent(server: Server) -> None:
    routes = [
        {"method": "POST", "path": "/orders", "weight": 1, "body": "x=1"},
        route("/ok", headers={"X-A": "b"}),
    ]
    with load(server, routes) as process:
        _, answer = segment(process, "steady", 2)
        assert answer["routes"]["POST /orders"]["statuses"] == {"204": 3}
        assert set(server.seen) == {("/orders", b"x=1"), ("/ok", "b")}


def test_progress_is_shown_while_it_lasts(server: Server) -> None:
    with load(server, [route("/ok")], pause_ms=50) as process:
        progress, answer = segment(process, "steady", 10)
        done = [line["progress"] for line in progress]
        assert done and done == sorted(done)
        assert all(0 <= line["progress"] <= line["of"] == answer["requests"] for line in progress)


def test_a_server_that_is_not_there_is_no_response(server: Server) -> None:
    with load(server, [route("/ok")], url="http://127.0.0.1:1") as process:
        _, answer = segment(process, "steady", 2)
        assert answer["routes"]["GET /ok"]["no_response"] == 6
    assert ended(answer, "/ok") == {("refused", None)}


def test_an_open_loop_does_not_wait_for_answers(server: Server) -> None:
    with load(server, [route("/slow")], rate=100) as process:
        _, answer = segment(process, "steady", 20)
    assert answer["requests"] == len(server.seen) == 60
    # 100 a second, each of 0.3 s: some thirty at a time, where three workers would have three.
    assert server.most_under_way > 10
    assert answer["routes"]["GET /slow"]["p50"] > 0.3


def test_arrivals_are_the_seed_s() -> None:
    first, again, other = (
        list(itertools.islice(arrivals(50, Seed(seed).stream("x")), 5000)) for seed in (1, 1, 2)
    )
    assert first == again != other
    assert first == sorted(first)
    assert 90 < first[-1] < 110


def test_requests_of_one_route_stay_one_after_the_other(server: Server) -> None:
    with load(server, [route("/slow"), route("/b")], rate=1000) as process:
        write(process, {"segment": "exact", "requests": 2, "route": 0})
        while "progress" in (answer := json.loads(process.stdout.readline())):
            pass
    assert answer["requests"] == 2
    assert server.most_under_way == 1


def test_it_ends_with_its_input(server: Server) -> None:
    with load(server, [route("/ok")]) as process:
        segment(process, "steady", 1)
        process.stdin.close()
        assert process.wait(10) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_leaves_cleanly_in_the_middle_of_a_segment(server: Server, number: int) -> None:
    with load(server, [route("/ok")], pause_ms=100) as process:
        write(process, {"segment": "long", "requests": 1000})
        assert "progress" in process.stdout.readline()
        process.send_signal(number)
        assert process.wait(10) == 0


@pytest.mark.parametrize("more", [{}, {"rate": 200}])
def test_an_open_segment_goes_on_until_there_is_enough(
    server: Server, more: dict[str, Any]
) -> None:
    with load(server, [route("/ok"), route("/503")], **more) as process:
        for turn in range(2):
            write(process, {"segment": "after", "requests": 4, "open": True})
            beyond = False
            while "progress" in (answer := json.loads(process.stdout.readline())):
                if answer["progress"] > 20 and not beyond:
                    beyond = True
                    write(process, {"enough": True})
            assert beyond, turn
            assert answer["requests"] > 20
        _, closed = segment(process, "control", 4)
        assert closed["requests"] == 12


def test_an_open_segment_of_one_route(server: Server) -> None:
    with load(server, [route("/ok"), route("/503")]) as process:
        write(process, {"segment": "after", "requests": 2, "route": 1, "open": True})
        while "progress" in (answer := json.loads(process.stdout.readline())):
            if answer["progress"] > 4:
                write(process, {"enough": True})
        assert list(answer["routes"]) == ["GET /503"]


def test_a_route_that_keeps_clients_waiting_in_vain_is_asked_less(server: Server) -> None:
    """/slow takes longer than the clients wait; what is asked beside it has all its requests."""
    with load(server, [route("/ok"), route("/slow")], timeout_s=0.05) as process:
        write(process, {"segment": "during", "requests": 40, "seconds": 0.01})
        while "progress" in (answer := json.loads(process.stdout.readline())):
            pass
        figures = answer["routes"]
        assert figures["GET /ok"]["count"] >= 60
        # Two for each worker, and what the others had under way or sent as it lasted.
        assert 6 <= figures["GET /slow"]["count"] <= 15
        # The next segment, whose end is not open, asks for everything.
        _, answer = segment(process, "control", 6)
        assert answer["routes"]["GET /slow"]["count"] == 9


def test_a_segment_of_requests_that_lasts(server: Server) -> None:
    with load(server, [route("/ok")]) as process:
        began = time.monotonic()
        write(process, {"segment": "during", "requests": 2, "seconds": 0.3})
        while "progress" in (answer := json.loads(process.stdout.readline())):
            pass
        assert time.monotonic() - began >= 0.3
        assert answer["requests"] > 6


def test_clients_that_are_to_leave_do_and_the_others_wait(server: Server) -> None:
    with load(server, [route("/slow")]) as process:
        order = {"segment": "during", "requests": 8, "leave": {"share": 0.5, "within": 0.1}}
        write(process, order)
        clients = []
        while "progress" in (answer := json.loads(process.stdout.readline())):
            clients += answer.get("clients", [])
        clients += answer.get("clients", [])
        figures = answer["routes"]["GET /slow"]
        ended = Counter(row[4] for row in clients)
        assert ended["left"] == figures["left"]
        assert ended["complete"] == figures["statuses"]["200"]
        assert sum(ended.values()) == figures["count"] == 24
        assert figures["no_response"] == figures["truncated"] == 0
        assert min(ended["left"], ended["complete"]) > 0


def test_all_workers_send_one_route_together(server: Server) -> None:
    with load(server, [route("/ok"), route("/slow")]) as process:
        write(process, {"segment": "during", "requests": 2, "route": 1, "all": True})
        while "progress" in (answer := json.loads(process.stdout.readline())):
            pass
        assert answer["requests"] == 6
        assert set(answer["routes"]) == {"GET /slow"}
        assert server.most_under_way > 1


def test_the_load_goes_on_from_one_segment_into_the_next(server: Server) -> None:
    with load(server, [route("/ok")], pause_ms=5) as process:
        rows: list[Any] = []

        def hear(key: str) -> dict[str, Any]:
            while key not in (answer := json.loads(process.stdout.readline())):
                rows.extend(answer.pop("clients", []))
            rows.extend(answer.pop("clients", []))
            return answer  # type: ignore[no-any-return]

        write(process, {"segment": "x: during", "requests": 4, "flow": 5})
        assert hear("dealt") == {"dealt": "x: during"}
        sent = len(server.seen)
        assert sent >= 12
        while len(server.seen) < sent + 6:  # nobody stands still
            time.sleep(0.01)
        at = time.monotonic()
        write(process, {"next": "x: after", "at": at})
        write(process, {"enough": True})
        during, after = hear("segment"), hear("segment")
        assert (during["segment"], after["segment"]) == ("x: during", "x: after")
        assert during["requests"] == sum(row[2] < at for row in rows) >= 18
        assert after["requests"] == sum(row[2] >= at for row in rows) >= 3 * 5 - 3
        assert during["requests"] + after["requests"] == len(server.seen) == len(rows)
