"""The ring behind the event stream, against a list that forgets nothing."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from seism.journal import TOPICS, ChaosStopped, ToxicChanged
from seism.sidecar.feed import Feed
from seism.verdict.request import Opinion
from seism_middleware import wire
from seism_middleware.contract import Attribution, Goodbye, Harm, PerturbationEnded, RequestEnded

MAKERS = {
    "perturbations": lambda n: PerturbationEnded(f"p{n}", float(n), "passed"),
    "observations": lambda n: RequestEnded(f"r{n}", "GET", "/", float(n), 0.1, 200, "complete"),
    "attributions": lambda n: Attribution("p1", f"r{n}", "ledger", exact=True),
    "opinions": lambda n: Opinion(f"r{n}", "green"),
    "harms": lambda n: Harm("crosstalk", f"r{n}", exact=True),
    "changes": lambda n: ToxicChanged("db", "down", float(n), "api"),
    "chaos": lambda n: ChaosStopped(float(n), "asked to"),
}

topics = st.sampled_from(sorted(TOPICS))
steps = st.lists(
    st.one_of(
        topics.map(lambda topic: ("publish", topic)),
        st.integers(1, 4).map(lambda limit: ("read", limit)),
    ),
    max_size=60,
)


@given(steps, st.sets(topics, min_size=1), st.integers(1, 5))
def test_a_reader_gets_everything_in_order_or_is_told_how_much_it_missed(
    script: list[tuple[str, object]], wanted: set[str], size: int
) -> None:
    feed = Feed("run", size)
    published: list[object] = []
    seen: list[object] = []
    missed = 0
    place = feed.end()

    def read(limit: int) -> int:
        nonlocal place, missed
        batch = feed.after(place, wanted, limit)
        missed += sum(batch.missed.values())
        assert len(batch.records) <= limit
        seen.extend(kept.record for kept, _ in batch.records)
        place = batch.records[-1][1] if batch.records else batch.places
        # A place survives being sent as text, which is what a reconnect is.
        again = feed.find(feed.name(place))
        assert again == place
        return len(batch.records)

    for number, (what, value) in enumerate(script):
        if what == "publish":
            record = MAKERS[str(value)](number)  # type: ignore[no-untyped-call]
            feed.publish(record)
            if value in wanted:
                published.append(record)
        else:
            assert isinstance(value, int)
            read(value)
    while read(3):
        pass
    assert len(seen) + missed == len(published)
    positions = [published.index(record) for record in seen]
    assert positions == sorted(set(positions))
    assert feed.missed == missed
    if all(published.count(each) <= size for each in published) and len(published) <= size:
        assert seen == published


def test_observations_do_not_push_perturbations_out() -> None:
    feed = Feed("run", 10)
    place = feed.end()
    feed.publish(MAKERS["perturbations"](0))
    for number in range(1000):
        feed.publish(MAKERS["observations"](number))
    batch = feed.after(place, ["perturbations"], 10)
    assert [kept.record.perturbation for kept, _ in batch.records] == ["p0"]
    ((kept, _),) = batch.records
    assert json.loads(kept.json) == wire.to_dict(kept.record)
    assert batch.missed == {}


def test_who_comes_late_is_told_how_much_is_gone() -> None:
    feed = Feed("run", 2)
    for n in range(5):
        feed.publish(MAKERS["observations"](n))
    feed.publish(MAKERS["attributions"](1))
    assert feed.earlier(["observations", "attributions"]) == {"observations": 3}
    assert feed.earlier(["attributions"]) == {}


def test_what_has_no_topic_is_not_kept() -> None:
    feed = Feed("run")
    feed.publish(Goodbye())
    assert feed.end() == (0,) * len(TOPICS)


@given(st.text(max_size=30))
def test_any_text_is_a_place_of_this_run_or_none(text: str) -> None:
    feed = Feed("run")
    feed.publish(MAKERS["attributions"](1))
    found = feed.find(text)
    assert found is None or feed.name(found) == text


def test_places_that_cannot_be() -> None:
    feed = Feed("run")
    rest = "-0" * (len(TOPICS) - 1)
    assert feed.find(f"run-0{rest}") == (0,) * len(TOPICS)
    for text in ("", "run", f"run{rest}", f"run-0-0{rest}", f"other-0{rest}", f"run-1{rest}",
                 f"run--1{rest}", f"run-x{rest}", f"run-²{rest}",
                 f"run-{'9' * 5000}{rest}"):  # fmt: skip
        assert feed.find(text) is None


def test_readers_are_woken_and_leave() -> None:
    feed = Feed("run")
    wake = feed.attend()
    assert feed.readers == 1
    feed.publish(MAKERS["attributions"](1))
    assert wake.is_set()
    wake.clear()
    feed.close()
    assert wake.is_set()
    feed.leave(wake)
    assert feed.readers == 0
