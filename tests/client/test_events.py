"""The feed: bytes to events, events to records, and what happens when it breaks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seism.client import Client
from seism.client.events import LONGEST_EVENT, Event, Parser
from seism.errors import NotFound, ProtocolError, Unavailable
from tests.client.sse import began, ended, event, serving
from tests.client.test_control import answering
from tests.processes import free_port


def parse(*chunks: bytes) -> list[Event]:
    parser = Parser()
    return [event for chunk in chunks for event in parser.feed(chunk)]


@pytest.mark.parametrize(
    ("data", "events"),
    [
        (b"data: a\n\n", [Event("", "a")]),
        (b"data:a\n\n", [Event("", "a")]),
        (b"data:  a\n\n", [Event("", " a")]),
        (b"data\n\n", [Event("", "")]),
        (b"data: a\ndata: b\n\n", [Event("", "a\nb")]),
        (b"id: 1\ndata: a\n\ndata: b\n\n", [Event("1", "a"), Event("1", "b")]),
        (b"id: 1\n\ndata: b\n\n", [Event("1", "b")]),
        (b"id: 1\0\ndata: a\n\n", [Event("", "a")]),
        (b"id\ndata: a\n\n", [Event("", "a")]),
        (b": comment\n:\nretry: 5\nfoo: bar\ndata: a\n\n", [Event("", "a")]),
        (b"event: x\ndata: a\n\ndata: b\n\n", [Event("", "a", "x"), Event("", "b")]),
        (b"event: x\n\ndata: b\n\n", [Event("", "b")]),
        (b"\xef\xbb\xbfdata: a\n\n", [Event("", "a")]),
        (b"data: a", []),
        (b"data: a\n", []),
        (
            b"data: a\r\n\r\ndata: b\r\rdata: c\n\n",
            [Event("", "a"), Event("", "b"), Event("", "c")],
        ),
        ("data: ä\n\n".encode(), [Event("", "ä")]),
        (b"data: \xff\n\n", [Event("", "�")]),
    ],
)
def test_lines(data: bytes, events: list[Event]) -> None:
    assert parse(data) == events
    assert parse(*(bytes([byte]) for byte in data)) == events


texts = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), max_size=20)
ends = st.sampled_from(["\n", "\r\n", "\r"])


@given(
    st.lists(st.tuples(texts, st.lists(texts, min_size=1, max_size=3), ends), max_size=5),
    st.lists(st.integers(0, 400), max_size=8),
)
def test_however_it_is_cut(said: list[tuple[str, list[str], str]], cuts: list[int]) -> None:
    data = b"".join(
        f"id: {id_}{end}{''.join(f'data: {line}{end}' for line in lines)}{end}".encode()
        for id_, lines, end in said
    )
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    chunks = [data[a:b] for a, b in pairwise(places)]
    assert parse(*chunks) == [Event(id_, "\n".join(lines)) for id_, lines, _ in said]


@given(st.lists(st.binary(max_size=50)))
def test_garbage_is_no_error(chunks: list[bytes]) -> None:
    parse(*chunks)
    assert parse(*chunks) == parse(b"".join(chunks))


@pytest.mark.parametrize("line", [b"x", b"data: x\n"])
def test_an_endless_event_is_an_error(line: bytes) -> None:
    parser = Parser()
    with pytest.raises(ProtocolError):
        for _ in range(LONGEST_EVENT):
            list(parser.feed(line * 1000))


@pytest.mark.parametrize("chunked", [False, True])
def test_records(chunked: bool) -> None:
    with serving(chunked) as server, Client(server.address, token="t").perturbations() as feed:
        whole = event(1, began(1)) + event(2, ended(1))
        server.say(whole[:30])
        server.say(whole[30:])
        assert [next(feed), next(feed)] == [began(1), ended(1)]
        assert feed.last_id == "2"
        assert "Authorization: Bearer t\r\n" in server.heard[0]
        assert "Last-Event-ID" not in server.heard[0]


def test_other_records_are_passed_over() -> None:
    with serving() as server, Client(server.address).perturbations() as feed:
        server.say(b'event: hello\ndata: {"topics": []}\n\ndata: 1\n\n: quiet\n\n')
        server.say(b'data: {"kind": "newer.kind"}\n\ndata: {"kind": 1}\n\n' + event(1, began(1)))
        assert next(feed) == began(1)


def test_what_was_missed_is_counted() -> None:
    with serving() as server, Client(server.address).perturbations() as feed:
        server.say(b'event: missed\ndata: {"perturbations": 3, "attributions": 1}\n\n')
        server.say(event(1, began(1)))
        assert next(feed) == began(1)
        assert (feed.missed, feed.lost) == (4, False)
        server.say(b"event: missed\ndata: null\n\n" + event(2, ended(1)))
        assert next(feed) == ended(1)
        assert (feed.missed, feed.lost) == (4, True)


@pytest.mark.parametrize("data", [b"data: [\n\n", b'data: {"kind": "perturbation.began"}\n\n'])
def test_what_is_no_record(data: bytes) -> None:
    with serving() as server, Client(server.address).perturbations() as feed:
        server.say(data)
        with pytest.raises(ProtocolError):
            next(feed)


@pytest.mark.parametrize("chunked", [False, True])
def test_it_connects_again_where_it_was(chunked: bool) -> None:
    with serving(chunked) as server, Client(server.address).perturbations(after="seven") as feed:
        server.hang_up()
        server.say(event(8, began(8)) + b"id: 9\ndata: half")
        assert next(feed) == began(8)
        server.hang_up()
        server.say(event(9, ended(8)))
        assert next(feed) == ended(8)
        ids = [head.partition("Last-Event-ID: ")[2].partition("\r\n")[0] for head in server.heard]
        assert ids == ["seven", "seven", "8"]


def test_it_gives_up_when_patience_ends() -> None:
    with serving() as server:
        feed = Client(server.address).perturbations(patience=0.2)
        server.say(event(1, began(1)))
        assert next(feed) == began(1)
        server.hang_up()
    with pytest.raises(Unavailable):
        next(feed)
    assert list(feed) == []


def test_nobody_is_there() -> None:
    with pytest.raises(Unavailable):
        Client(f"127.0.0.1:{free_port()}").perturbations()


def test_it_is_not_served() -> None:
    answer = b'HTTP/1.0 404 Not Found\r\n\r\n{"error": "not found"}'
    with answering(answer) as (address, _):
        with pytest.raises(NotFound):
            Client(address).perturbations()


def test_it_ends_when_it_is_quiet() -> None:
    with serving() as server, Client(server.address).perturbations(timeout=0.5) as feed:
        server.say(event(1, began(1)))
        assert list(feed) == [began(1)]
        assert list(feed) == []


@pytest.mark.parametrize("chunked", [False, True])
def test_another_thread_closes_it(chunked: bool) -> None:
    with serving(chunked) as server:
        feed = Client(server.address).perturbations()
        server.say(event(1, began(1)))
        seen: list[object] = []
        first = threading.Event()
        thread = threading.Thread(target=lambda: _read(feed.__next__, seen, first))
        thread.start()
        assert first.wait(30)
        feed.close()
        thread.join(30)
        assert not thread.is_alive()
        assert seen == [began(1)]


def _read(read: Callable[[], object], seen: list[object], first: threading.Event) -> None:
    try:
        while True:
            seen.append(read())
            first.set()
    except StopIteration:
        pass
