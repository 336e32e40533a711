"""HTTP/1.1: ends where two other parsers see them, and nothing where two could differ."""

from __future__ import annotations

import h11
import llhttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seism.protocols.http import Http
from seism_middleware.contract import DOWNSTREAM, UPSTREAM
from tests.protocols.conformance import Conformance, Heard, heard
from tests.protocols.record import recorded

HOST = b"Host: a\r\n"


class TestHttp(Conformance):
    codec = Http
    samples = [
        sample
        for sample in (*recorded("http", "secret", "17", "42"), *recorded("http_nginx"))
        if sample.name != "http-1.0"  # only the end of the connection ends its reply
    ]


def both(*chunks: tuple[str, bytes]) -> Heard:
    ways = {">": UPSTREAM, "<": DOWNSTREAM}
    listener = heard(Http, [(ways[mark], data) for mark, data in chunks])
    for way in ways.values():
        listener.end(way)
    return listener


def requests(data: bytes) -> Heard:
    return both((">", data))


def ends(listener: Heard) -> list[int]:
    """Where whole requests end in the stream."""
    found, at = [], 0
    for piece in listener.pieces[UPSTREAM]:
        at += len(piece.data)
        if piece.last:
            found.append(at)
    return found


class _Llhttp(llhttp.Request):  # type: ignore[misc]
    def on_message_complete(self) -> None:
        self.pause()


def ends_for_llhttp(data: bytes) -> list[int]:
    """Raises what llhttp raises."""
    parser, found, at = _Llhttp(), [], 0
    while at < len(data):
        size = parser.execute(data[at:])
        if not size:
            break
        at += size
        if parser.is_paused:
            found.append(at)
            parser.unpause()
    return found


def ends_for_h11(data: bytes) -> list[int]:
    """Raises what h11 raises."""
    found, rest = [], data
    while rest:
        parser = h11.Connection(h11.SERVER, max_incomplete_event_size=65536)
        parser.receive_data(rest)
        while not isinstance(event := parser.next_event(), h11.EndOfMessage):
            if event in (h11.NEED_DATA, h11.PAUSED):
                return found
        rest = parser.trailing_data[0]
        found.append(len(data) - len(rest))
    return found


METHODS = st.sampled_from([b"GET", b"POST", b"DELETE", b"OPTIONS"])
TOKENS = st.text("abcXYZ-_!#09", min_size=1, max_size=8).map(lambda text: b"X-" + text.encode())
VALUES = st.text("abc 19;=/,\t", max_size=12).map(lambda text: text.strip().encode())


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    head = draw(METHODS) + b" /" + draw(st.sampled_from([b"", b"a/1?q=2", b"%20"]))
    head += b" HTTP/1.1\r\n" + HOST
    for name, value in draw(st.lists(st.tuples(TOKENS, VALUES), max_size=3)):
        head += name + b": " + value + b"\r\n"
    body = draw(st.binary(max_size=40))
    how = draw(st.sampled_from(["none", "length", "chunked"]))
    if how == "none":
        return head + b"\r\n"
    if how == "length":
        return head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    head += b"Transfer-Encoding: chunked\r\n\r\n"
    if body:
        head += b"%X\r\n" % len(body) + body + b"\r\n"
    trailer = draw(st.sampled_from([b"", b"X-T: 1\r\n"]))
    return head + b"0\r\n" + trailer + b"\r\n"


@settings(deadline=None, max_examples=200)
@given(st.lists(messages(), min_size=1, max_size=4))
def test_it_cuts_what_is_valid_as_others_do(parts: list[bytes]) -> None:
    data = b"".join(parts)
    listener = requests(data)
    assert not listener.error
    found = ends(listener)
    assert found == ends_for_llhttp(data) == ends_for_h11(data)
    assert found == [sum(map(len, parts[: at + 1])) for at in range(len(parts))]


NOISE = [
    b"\r", b"\n", b" ", b"\t", b"\0", b":", b"0", b",", b"\r\n", b"\r\n\r\n", b"\x80",
    b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"Content-Length: +3\r\n",
]  # fmt: skip


@settings(deadline=None, max_examples=400)
@given(st.lists(messages(), min_size=1, max_size=3), st.data())
def test_what_it_understands_others_cut_alike(parts: list[bytes], data: st.DataObject) -> None:
    """It may refuse what others accept, and never cuts where they don't."""
    text = b"".join(parts)
    at = data.draw(st.integers(0, len(text)))
    noise = data.draw(st.sampled_from(NOISE))
    text = text[:at] + noise + text[at + data.draw(st.integers(0, 2)) :]
    listener = requests(text)
    mine = ends(listener)
    for parse, errors in ((ends_for_llhttp, llhttp.Error), (ends_for_h11, h11.RemoteProtocolError)):
        try:
            theirs = parse(text)
        except errors:
            continue
        assert mine == theirs[: len(mine)], parse


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 3\r\nContent-Length: 4\r\n",
        b"Content-Length: 3, 3\r\n",
        b"Content-Length: +3\r\n",
        b"Content-Length: 0x3\r\n",
        b"Content-Length : 3\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding: \x0bchunked\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"X: a\r\n folded\r\n",
        b"X: a\nContent-Length: 3\r\n",
        b"X: a\rContent-Length: 3\r\n",
        b"X: \0\r\n",
        b"no colon\r\n",
        b": no name\r\n",
    ],
)
def test_an_ambiguous_request_is_refused(head: bytes) -> None:
    listener = requests(b"POST / HTTP/1.1\r\n" + HOST + head + b"\r\nabc")
    assert listener.error
    assert not listener.exchanges()


@pytest.mark.parametrize(
    "line", [b"GET /", b"GET  / HTTP/1.1", b"GET / HTTP/2.0", b"G@T / HTTP/1.1", b"\x16\x03\x01"]
)
def test_what_is_no_request_line_is_refused(line: bytes) -> None:
    assert requests(line + b"\r\n" + HOST + b"\r\n").error


@pytest.mark.parametrize(
    "body", [b"x\r\n", b"3\nabc\r\n0\r\n\r\n", b"3\r\nabcd\r\n", b"0\r\nX\r\n\r\n"]
)
def test_a_malformed_chunk_is_refused(body: bytes) -> None:
    start = b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    assert requests(start + body + b" " * 20).error


def test_a_head_is_at_most_64_kib() -> None:
    start = b"GET / HTTP/1.1\r\nX: "
    assert not requests(start + b"a" * 60000 + b"\r\n\r\n").error
    listener = requests(start + b"a" * 70000 + b"\r\n\r\n")
    assert listener.error
    assert not listener.exchanges()


def test_a_body_is_not_held() -> None:
    listener = Heard(Http())
    listener.hear(UPSTREAM, b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1000000000\r\n\r\n")
    for _ in range(20):
        listener.hear(UPSTREAM, b"x" * 100_000)
        assert not listener.codec.held(UPSTREAM)


def test_what_is_told_of_a_request() -> None:
    trace = b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"
    listener = requests(
        b"GET http://shop.example/users/42/orders/abcd-1?token=secret HTTP/1.1\r\n"
        b"Host: shop.example\r\nUser-Agent: test\r\nContent-Type: text/plain\r\n" + trace + b"\r\n"
    )
    (one,) = listener.exchanges()
    assert one.summary == "GET /users/{id}/orders/{id}"
    assert one.trace == "0af7651916cd43dd8448eb211c80319c"
    assert one.fields == {
        "method": "GET",
        "path": "/users/42/orders/abcd-1",
        "query": "token=secret",
        "host": "shop.example",
        "content_type": "text/plain",
        "user_agent": "test",
    }


def test_interim_replies_belong_to_their_request() -> None:
    listener = both(
        (">", b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"),
        ("<", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (">", b"abc"),
        ("<", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n"),
        ("<", b"Content-Length: 0\r\n\r\n"),
    )
    (one,) = listener.exchanges()
    assert one.answered and not listener.error and not listener.codec.opaque


def test_a_refused_expectation_leaves_the_body_open() -> None:
    listener = both(
        (">", b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"),
        ("<", b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"),
        (">", b"GET / HTTP/1.1\r\n\r\n"),
    )
    assert listener.codec.opaque


def test_connect_is_a_tunnel_once_it_is_granted() -> None:
    ask = b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"
    granted = both((">", ask), ("<", b"HTTP/1.1 200 OK\r\n\r\n"), (">", b"\x16\x03\x01"))
    assert granted.codec.opaque == "CONNECT"
    assert granted.exchanges()[0].answered
    denied = both(
        (">", ask),
        ("<", b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"),
        (">", b"GET / HTTP/1.1\r\n\r\n"),
    )
    assert [one.kind for one in denied.exchanges()] == ["CONNECT", "GET"]
    assert not denied.error and not denied.codec.opaque
    early = both((">", ask + b"\x16\x03\x01"))
    assert early.codec.opaque


def test_http_2_is_not_understood() -> None:
    assert requests(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").codec.opaque == "HTTP/2"


def test_a_reply_to_no_request_is_not_understood() -> None:
    listener = both(("<", b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"))
    assert listener.codec.opaque and not listener.exchanges()


def test_a_skipped_request_has_no_reply() -> None:
    listener = Heard(Http())
    listener.hear(UPSTREAM, b"GET /one HTTP/1.1\r\n\r\n")
    listener.codec.skip(listener.exchanges()[0])
    listener.hear(UPSTREAM, b"GET /two HTTP/1.1\r\n\r\n")
    listener.hear(DOWNSTREAM, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert [one.answered for one in listener.exchanges()] == [False, True]


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_an_ambiguous_reply_is_refused(reply: bytes) -> None:
    assert both((">", b"GET / HTTP/1.1\r\n\r\n"), ("<", reply)).error


def test_a_reply_without_a_length_ends_with_the_connection() -> None:
    listener = both(
        (">", b"GET / HTTP/1.1\r\n\r\n"), ("<", b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n")
    )
    (one,) = listener.exchanges()
    assert one.answered
    assert one.reply_size == 38


NOT_HTTP = {
    "TLS": bytes.fromhex("16030100c8010000c40303"),
    "bare LF": b"GET / HTTP/1.1\nHost: a\n\n",
    "bare LF later": b"GET / HTTP/1.1\r\nHost: a\n\n",
    "HTTP/0.9": b"GET /\r\n",
    "SSH": b"SSH-2.0-OpenSSH_9.6\r\n",
    "SMTP": b"EHLO there\r\n",
    "Redis": b"*1\r\n$4\r\nPING\r\n",
    "an empty line by LF": b"\nGET / HTTP/1.1\r\n",
    "PostgreSQL": bytes.fromhex("0000000804d2162f"),
    "a chunk size": b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\n0\n\n",
}


@pytest.mark.parametrize("name", NOT_HTTP)
@pytest.mark.parametrize("step", [1, 10_000])
def test_what_is_not_http_is_not_waited_for(name: str, step: int) -> None:
    data = NOT_HTTP[name]
    listener = heard(Http, [(UPSTREAM, data[at : at + step]) for at in range(0, len(data), step)])
    assert listener.codec.opaque or listener.error


@pytest.mark.parametrize(
    "reply", [b"<html>hello", b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", b"HTTP/2 200\r\n", b"\x15"]
)
def test_a_reply_that_is_not_http_is_not_waited_for(reply: bytes) -> None:
    asked = (UPSTREAM, b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
    for step in (1, 10_000):
        parts = [(DOWNSTREAM, reply[at : at + step]) for at in range(0, len(reply), step)]
        listener = heard(Http, [asked, *parts])
        assert listener.codec.opaque or listener.error
