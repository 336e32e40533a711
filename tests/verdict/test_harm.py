"""What the verdict says of harm: found where it is, and not blamed where it is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from seism.journal import BROKEN, DIED, OUT_OF_MEMORY, ChangingExchange, WorkerLeft
from seism.verdict.judgement import judge
from seism.verdict.result import AMBER, GREEN, RED, Judgement
from seism.verdict.rules import Rules
from seism_middleware import contract
from seism_middleware.contract import Census, Hello, LoggedError, OpenConnection
from tests.story import Story

SLOW = ("db slow", "db", "latency")


def row(port: int, user: str | None = None, opener: str | None = None) -> OpenConnection:
    running = user is not None and user.startswith("!")
    user = user.removeprefix("!") if user else None
    return OpenConnection("db", f"127.0.0.1:{port}", opener, user, running)


def census(story: Story, *rows: OpenConnection) -> None:
    story.now += 0.001
    story.add(Census("c", story.now, None, rows))


def begun(**kwargs: Rules) -> Story:
    story = Story(SLOW, rules=kwargs.get("rules"))
    story.phase("warmup")
    return story


def kinds(judgement: Judgement) -> list[tuple[str, str]]:
    return [(harm.kind, harm.colour) for harm in judgement.harms]


@pytest.mark.parametrize(
    ("eager", "after", "found"),
    [(4, 3, True), (4, 1, True), (4, 4, False), (4, 5, False), (1, 0, False), (0, 0, False)],
)
def test_lost(eager: int, after: int, found: bool) -> None:
    """Only what was open before any request had asked for it is owed by the pool."""
    story = begun()
    census(story, *(row(n) for n in range(eager)))
    story.phase("steady")
    story.requests(10)
    census(story, *(row(n) for n in range(eager)))
    story.phase("during", 0)
    story.perturb(0, story.request())
    story.phase("after", 0)
    story.requests(10)
    census(story, *(row(100 + n) for n in range(after)))
    judgement = judge(story.end())
    assert kinds(judgement) == ([("lost", RED)] if found else [])
    assert judgement.colour == (RED if found else GREEN)
    (pool,) = judgement.pools
    assert (pool.before, pool.during, pool.after) == (eager, None, after)


@pytest.mark.parametrize("by_jobs", [True, False])
def test_what_jobs_have_opened_is_no_pools(by_jobs: bool) -> None:
    """Prefect's services use the pool of its requests, which opens what somebody asks for."""
    story = begun()
    old = [row(n) for n in range(4)]
    census(story, *old)
    story.phase("steady")
    story.requests(10)
    if by_jobs:
        story.add(ChangingExchange("db", "127.0.0.1:1", story.now, "UPDATE", "changes", True))
    story.now += 1
    census(story, *old)
    story.phase("during", 0)
    story.perturb(0, story.request())
    story.phase("after", 0)
    story.requests(10)
    census(story, *old[:2], row(101))
    assert kinds(judge(story.end())) == ([] if by_jobs else [("lost", RED)])


@pytest.mark.parametrize("new", [0, 1])
def test_a_pool_that_opens_them_again_when_they_are_needed(new: int) -> None:
    """As asyncpg's: all at the start, and later each when a request wants it."""
    story = begun()
    old = [row(n) for n in range(4)]
    census(story, *old)
    story.phase("steady")
    story.requests(10)
    census(story, *old)
    story.phase("during", 0)
    story.perturb(0, story.request())
    story.phase("after", 0)
    user = story.request()
    story.requests(9)
    census(story, old[0], *(row(100 + n, user, user) for n in range(new)))
    judgement = judge(story.end())
    # Where it has opened none so far, nobody knows what kind of pool it is.
    assert kinds(judgement) == ([] if new else [("lost", GREEN)])
    assert judgement.colour == GREEN


@pytest.mark.parametrize("kept", [True, False])
def test_requests_that_get_no_connection(kept: bool) -> None:
    story = begun(rules=Rules(recover_s=0.01))
    used = (contract.SendCount("db", "127.0.0.1:1", 1, 8),)
    story.phase("steady")
    story.requests(10, sends=used)
    story.phase("during", 0)
    hit = story.request(status=503, sends=used)
    story.perturb(0, hit)
    story.phase("after", 0)
    starved = [story.request(status=503) for _ in range(5)]
    census(story, *([row(1, hit, hit)] if kept else []))
    judgement = judge(story.end())
    assert kinds(judgement) == [("leaked", RED) if kept else ("lost", GREEN)]
    (harm,) = judgement.harms
    assert harm.exact == kept
    assert set(starved[2:]) <= set(harm.requests)


def test_requests_that_fail_on_the_backend_itself() -> None:
    story = begun(rules=Rules(recover_s=0.01))
    used = (contract.SendCount("db", "127.0.0.1:1", 1, 8),)
    story.phase("steady")
    story.requests(10, sends=used)
    story.phase("during", 0)
    hit = story.request(status=503, sends=used)
    story.perturb(0, hit)
    story.phase("after", 0)
    last = [story.request(status=503, sends=used) for _ in range(5)][-1]
    census(story, row(1, last, hit))
    judgement = judge(story.end())
    assert kinds(judgement) == []
    assert judgement.colour == RED


def test_a_connection_of_each_thread_is_not_leaked() -> None:
    """Twelve threads, one request at a time: each keeps its own connection, and all is well."""
    story = begun()
    story.phase("steady")
    first = story.request()
    story.requests(9)
    census(story, row(1, first, first))
    story.phase("during", 0)
    users = [story.request() for _ in range(12)]
    story.perturb(0, *users)
    story.phase("after", 0)
    story.requests(10)
    census(story, *(row(100 + n, user, user) for n, user in enumerate(users)))
    assert kinds(judge(story.end())) == []


def test_what_is_used_again_later_was_not_leaked() -> None:
    story = begun()
    story.phase("steady")
    first = story.request()
    story.requests(9)
    census(story, row(1, first, first))
    story.phase("during", 0)
    users = [story.request(status=503) for _ in range(9)]
    story.perturb(0, *users)
    story.phase("after", 0)
    story.requests(10)
    census(story, *(row(100 + n, user, user) for n, user in enumerate(users)))
    story.phase("control")
    for n in range(9):
        story.request(sends=(contract.SendCount("db", f"127.0.0.1:{100 + n}", 1, 8),))
    assert kinds(judge(story.end())) == []


def test_what_jobs_open_at_the_start_is_no_pool_s() -> None:
    story = begun()
    census(story, *(row(n) for n in range(10)))
    story.phase("steady")
    story.requests(10)
    census(story, *(row(n) for n in range(3)))
    story.phase("during", 0)
    story.perturb(0, story.request())
    story.phase("after", 0)
    story.requests(10)
    census(story, *(row(100 + n) for n in range(3)))
    assert kinds(judge(story.end())) == []


def test_a_lazy_pool_is_not_blamed_for_what_nobody_needed() -> None:
    story = begun()
    story.phase("steady")
    users = [story.request() for _ in range(8)]
    census(story, *(row(n, user, user) for n, user in enumerate(users)))
    story.phase("during", 0)
    story.perturb(0, story.request())
    story.phase("after", 0)
    last = [story.request() for _ in range(8)][-1]
    census(story, row(100, last, last))
    assert kinds(judge(story.end())) == []


@pytest.mark.parametrize(("held", "found"), [(3, False), (4, True), (9, True)])
def test_more_connections_than_requests_ever_ran(held: int, found: bool) -> None:
    story = begun()
    story.phase("steady")
    first = story.request()
    story.requests(9)
    census(story, row(1, first, first))
    story.phase("during", 0)
    users = [story.request(status=503) for _ in range(held)]
    story.perturb(0, *users)
    story.phase("after", 0)
    story.requests(10)
    census(story, *(row(100 + n, user, user) for n, user in enumerate(users)))
    assert (("leaked", RED) in kinds(judge(story.end()))) == found


@pytest.mark.parametrize("unsure", [False, True])
def test_what_only_a_collector_could_tell_is_not_red(unsure: bool) -> None:
    """A worker that was busy at the census has not collected its garbage."""
    story = begun()
    story.phase("steady")
    first = story.request()
    story.requests(9)
    census(story, row(1, first, first))
    story.phase("during", 0)
    users = [story.request(status=503) for _ in range(9)]
    story.perturb(0, *users)
    story.phase("after", 0)
    story.requests(10)
    left = [replace(row(100 + n, user, user), unsure=unsure) for n, user in enumerate(users)]
    census(story, *left)
    judgement = judge(story.end())
    assert (("leaked", RED) in kinds(judgement)) != unsure
    assert any("was busy at a census" in text for text in judgement.warnings) == unsure


@pytest.mark.parametrize(("opened_by", "found"), [("GET /", True), ("GET /other", False)])
def test_one_stays_open_while_its_route_opens_another(opened_by: str, found: bool) -> None:
    """Another route may have another pool."""
    story = begun()
    story.phase("steady")
    story.requests(5)
    story.requests(5, "GET /other")
    story.phase("during", 0)
    hit = story.request(status=503)
    story.perturb(0, hit)
    story.phase("after", 0)
    story.requests(20)
    opener = story.request(opened_by)
    last = story.request()
    census(story, row(1, hit, hit), row(2, last, opener))
    judgement = judge(story.end())
    assert kinds(judgement) == ([("leaked", AMBER)] if found else [])
    if found:
        (harm,) = judgement.harms
        assert (harm.connection, harm.requests, harm.hit_by) == ("127.0.0.1:1", (hit,), "p1")


@pytest.mark.parametrize(("duration", "found"), [(9.0, True), (1.2, False)])
def test_hang(duration: float, found: bool) -> None:
    story = begun()
    story.phase("steady")
    story.requests(10)
    story.phase("during", 0)
    hit = story.request(status=None, duration=duration)
    story.perturb(0, hit)
    story.phase("after", 0)
    story.now += 2
    census(story, row(1, f"!{hit}", hit))
    story.now += 10
    judgement = judge(story.end())
    assert (("hang", RED) in kinds(judgement)) == found
    for harm in judgement.harms:
        assert (harm.connection, harm.hit_by, harm.exact) == ("127.0.0.1:1", "p1", True)


@pytest.mark.parametrize(
    ("reason", "words"),
    [(DIED, "died while"), (OUT_OF_MEMORY, "for lack of memory"), (BROKEN, ""), ("", "")],
)
def test_a_worker_that_died(reason: str, words: str) -> None:
    story = begun()
    story.add(Hello("w", 4711, contract.Clock("clock", 1.0), "wsgi"))
    story.phase("steady")
    story.requests(10)
    story.phase("during", 0)
    hit = story.request(status=None)
    story.perturb(0, hit)
    story.add(WorkerLeft(story.now, not reason, 1, reason))
    story.phase("after", 0)
    story.requests(10)
    judgement = judge(story.end())
    harms = [harm.what for harm in judgement.harms if harm.kind == "died"]
    assert len(harms) == bool(words)
    assert all(words in what and "4711" in what and hit in what for what in harms)


@pytest.mark.parametrize("started_in_it", [False, True])
def test_a_cold_start_ends_the_workers_that_run(started_in_it: bool) -> None:
    """The sidecar may notice that a moment later; one that it starts must live."""
    story = begun()
    story.plan[0].update(cold_start=True)
    if not started_in_it:
        story.add(Hello("w", 4711, contract.Clock("clock", story.now), "wsgi"))
    story.phase("steady")
    story.requests(10)
    story.phase("during", 0)
    if started_in_it:
        story.add(Hello("w", 4711, contract.Clock("clock", story.now), "wsgi"))
    story.add(WorkerLeft(story.now, False, 1, DIED))
    story.phase("after", 0)
    story.requests(10)
    harms = [harm for harm in judge(story.end()).harms if harm.kind == "died"]
    assert len(harms) == started_in_it


def test_a_worker_whose_server_ended_it() -> None:
    story = begun()
    story.phase("steady")
    story.requests(10)
    story.phase("during", 0)
    hit = story.request(status=None, exception="SystemExit")
    story.perturb(0, hit)
    story.phase("after", 0)
    story.requests(10)
    (harm,) = judge(story.end()).harms
    assert (harm.kind, harm.requests, harm.hit_by) == ("died", (hit,), "p1")
    assert "timed out" in harm.what


@pytest.mark.parametrize("exact", [True, False])
def test_crosstalk_is_traced_back_to_the_perturbation(exact: bool) -> None:
    story = begun()
    story.phase("steady")
    story.requests(10)
    story.phase("during", 0)
    hit = story.request(status=503)
    story.perturb(0, hit)
    first, second = story.request(), story.request()
    for other, request in ((hit, first), (first, second)):
        story.add(contract.Harm("crosstalk", request, exact, "db", "127.0.0.1:1", other))
    story.phase("after", 0)
    story.requests(10)
    judgement = judge(story.end())
    assert kinds(judgement) == [("crosstalk", RED if exact else GREEN)]
    (harm,) = judgement.harms
    assert (harm.requests, harm.hit_by, harm.exact) == ((first, second), "p1", exact)
    assert judgement.colour == (RED if exact else GREEN)
    cases = {case.request: case for case in judgement.cases}
    assert sorted(cases) == (sorted([first, second]) if exact else [])
    for case in cases.values():
        assert "wrong data" in case.reason
        assert (case.hit_by, case.role, case.exact) == ("p1", "harmed", True)


@pytest.mark.parametrize("traced", [True, False])
def test_crosstalk_in_the_last_control_run(traced: bool) -> None:
    story = begun()
    story.phase("steady")
    story.requests(10)
    story.phase("during", 0)
    hit = story.request(status=503)
    story.perturb(0, hit)
    story.phase("after", 0)
    story.requests(10)
    story.phase("control")
    story.requests(5)
    first = story.request()
    other = hit if traced else "w-9999"
    story.add(contract.Harm("crosstalk", first, True, "db", "127.0.0.1:1", other))
    judgement = judge(story.end())
    (harm,) = judgement.harms
    assert (harm.kind, harm.colour, harm.requests) == ("crosstalk", RED, (first,))
    assert harm.perturbation == ("db slow" if traced else "")
    assert harm.what.endswith(", in the control run after all perturbations")
    assert judgement.colour == RED


def test_wrong_data_in_the_control_run_is_no_steady_state() -> None:
    story = begun()
    story.phase("steady")
    first, second = story.request(), story.request()
    story.add(contract.Harm("sentinel", second, True, other=first))
    judgement = judge(story.end())
    assert not judgement.steady.met
    assert "wrong data" in judgement.steady.reason


ONE = LoggedError("app", "app:1", backends=("db",))
OTHER = LoggedError("app", "app:1", backends=("cache",))
LOUD = LoggedError("app", "app:1", backends=("db",), credentials=True)


@pytest.mark.parametrize(
    ("errors", "rules", "colour", "told"),
    [
        ((ONE,), Rules(log_once=True, log_backend=True), GREEN, ""),
        ((), Rules(), AMBER, "without an error in the log"),
        ((ONE, ONE), Rules(), GREEN, "with more than one error in the log"),
        ((ONE, ONE), Rules(log_once=True), AMBER, "with more than one error in the log"),
        ((OTHER,), Rules(), GREEN, "does not name db"),
        ((OTHER,), Rules(log_backend=True), AMBER, "does not name db"),
        ((LOUD,), Rules(), AMBER, "with credentials in the log"),
        ((LOUD,), Rules(log_credentials=False), GREEN, "with credentials in the log"),
    ],
)
def test_the_log(errors: tuple[LoggedError, ...], rules: Rules, colour: str, told: str) -> None:
    story = begun(rules=rules)
    story.phase("steady")
    story.requests(10)
    story.phase("during", 0)
    story.perturb(0, story.request(status=503, errors=errors))
    story.phase("after", 0)
    story.requests(10)
    judgement = judge(story.end())
    assert judgement.colour == colour
    assert len(judgement.warnings) == bool(told)
    assert told in "".join(judgement.warnings)


def test_an_exception_that_leaves_the_app_is_logged_by_its_server() -> None:
    story = begun()
    story.phase("steady")
    story.requests(10)
    story.phase("during", 0)
    story.perturb(0, story.request(status=503, errors=(), exception="builtins.KeyError"))
    story.phase("after", 0)
    story.requests(10)
    judgement = judge(story.end())
    assert (judgement.colour, judgement.warnings) == (GREEN, ())
