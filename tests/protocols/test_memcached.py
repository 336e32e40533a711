"""memcached: text, meta and binary; quiet commands and whose reply is whose."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from seism.protocols.memcached import Memcached
from seism_middleware.contract import DOWNSTREAM, UPSTREAM
from tests.protocols.conformance import Conformance, Heard, heard
from tests.protocols.record import recorded


class TestMemcached(Conformance):
    codec = Memcached
    samples = [
        # Without a quiet command's neighbours its reply may be anybody's.
        replace(one, skips=one.name not in ("meta", "binary"))
        for one in recorded("memcached", "key7", "three!")
    ]


def said(request: bytes, reply: bytes = b"") -> Heard:
    return heard(Memcached, [(UPSTREAM, request), (DOWNSTREAM, reply)][: 2 if reply else 1])


def whose(listener: Heard) -> list[int | None]:
    """The number of the exchange that each whole reply belongs to."""
    return [
        None if piece.exchange is None else piece.exchange.number
        for piece in listener.pieces[DOWNSTREAM]
        if piece.last
    ]


@pytest.mark.parametrize(
    "line",
    [b"set k 0 0\r\n", b"set k 0 0 -1\r\n", b"set k 0 0 x\r\n", b"frob k\r\n", b"\r\n",
     b"get \x01\r\n", b"mg\r\n", b"ms k\r\n", b"delete " + b"k" * 300 + b"\r\n",
     b"SET k 0 0 1\r\n"],
)  # fmt: skip
def test_what_the_server_could_cut_differently_is_refused(line: bytes) -> None:
    listener = said(line)
    assert listener.error
    assert not listener.exchanges()


def test_a_data_block_that_is_too_long_is_refused() -> None:
    assert said(b"set k 0 0 3\r\nabcd\r\n").error


def test_values_may_look_like_anything() -> None:
    listener = said(b"set k 0 0 10\r\nquit\r\nget \r\nget k\r\n")
    assert [one.kind for one in listener.exchanges()] == ["set", "get"]


def test_a_value_is_not_held() -> None:
    listener = said(b"set k 0 0 1000000000\r\n")
    for _ in range(20):
        listener.hear(UPSTREAM, b"x" * 100_000)
        assert not listener.codec.held(UPSTREAM)


def test_a_request_of_many_keys_is_not_held() -> None:
    listener = Heard(Memcached())
    listener.hear(UPSTREAM, b"get" + b" key" * 1000)
    for _ in range(40):
        listener.hear(UPSTREAM, b" key" * 1000)
        assert not listener.codec.held(UPSTREAM)
    listener.hear(UPSTREAM, b"\r\nversion\r\n")
    assert [one.kind for one in listener.exchanges()] == ["get", "version"]
    assert listener.exchanges()[0].fields == {"command": "get", "key": "key"}


def test_the_error_of_a_command_without_reply_is_its_own() -> None:
    listener = said(
        b"set k 0 0 1 noreply\r\na\r\n", b"SERVER_ERROR out of memory storing object\r\n"
    )
    assert whose(listener) == [1]
    assert not listener.exchanges()[0].replies


def test_an_error_that_may_be_two_commands_is_not_understood() -> None:
    listener = said(b"set k 0 0 1 noreply\r\na\r\nget k\r\n", b"SERVER_ERROR busy\r\n")
    assert listener.codec.opaque
    assert whose(listener) == []


def test_errors_of_one_of_many_quiet_commands_belong_to_none() -> None:
    listener = said(b"set k 0 0 1 noreply\r\na\r\n" * 2, b"SERVER_ERROR busy\r\n")
    assert whose(listener) == [None]
    assert not listener.codec.opaque


def test_hits_of_quiet_gets_are_told_by_their_key_or_opaque() -> None:
    asked = b"mg a v k q\r\nmg b v k q\r\nmg c v q O7\r\nmg d v q O8\r\nmn\r\n"
    listener = said(asked, b"VA 1 kb\r\nx\r\nVA 1 O8\r\ny\r\nMN\r\n")
    assert whose(listener) == [2, 4, 5]


def test_hits_that_cannot_be_told_belong_to_none() -> None:
    listener = said(b"mg a v q\r\nmg b v q\r\nmn\r\n", b"VA 1\r\nx\r\nMN\r\n")
    assert whose(listener) == [None, 3]


def test_commands_without_reply_are_not_remembered_for_ever() -> None:
    listener = said(b"set k 0 0 1 noreply\r\na\r\n" * 5000)
    codec = listener.codec
    assert isinstance(codec, Memcached)
    assert len(codec.pending) <= 1000


def packet(magic: int, opcode: int, opaque: int, key: bytes = b"", value: bytes = b"") -> bytes:
    size = len(key) + len(value)
    return (
        struct.pack("!BBHBBHIIQ", magic, opcode, len(key), 0, 0, 0, size, opaque, 0) + key + value
    )


def test_quiet_binary_commands_are_told_by_their_opaque() -> None:
    asked = b"".join(packet(0x80, 0x09, number, b"k") for number in range(3))
    asked += packet(0x80, 0x0A, 9)
    listener = said(asked, packet(0x81, 0x09, 1, b"", b"hit") + packet(0x81, 0x0A, 9))
    assert whose(listener) == [2, 4]


def test_binary_replies_to_nothing_are_not_understood() -> None:
    listener = said(packet(0x80, 0x0A, 1), packet(0x81, 0x0A, 2))
    assert listener.codec.opaque


@pytest.mark.parametrize(
    "head", [b"\x80\x00\x00\x05\x04" + bytes(19), b"\x80\x00\xff\xff" + bytes(20)]
)
def test_sizes_that_contradict_each_other_are_refused(head: bytes) -> None:
    assert said(head).error
