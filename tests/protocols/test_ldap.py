"""LDAP: ends, ids, and where it ends."""

from __future__ import annotations

import pytest

from seism.protocols.ldap import Ldap
from seism_middleware.contract import DOWNSTREAM, UPSTREAM
from tests.protocols.ber import bind, busy, extended, message, octets, search, sequence
from tests.protocols.conformance import Conformance, Heard, heard
from tests.protocols.record import recorded

TRACE = "0af7651916cd43dd8448eb211c80319c"


class TestLdap(Conformance):
    codec = Ldap
    samples = recorded("ldap", "secret", "user1", "dc=example")


def test_what_is_told_of_a_request() -> None:
    (one,) = [s for s in recorded("ldap") if s.name == "ldap3"]
    exchanges = heard(Ldap, one.turns).exchanges()
    assert exchanges[0].fields == {
        "operation": "bind", "dn": "cn=admin,dc=example,dc=org", "mechanism": "simple"
    }  # fmt: skip
    assert exchanges[1].fields == {
        "operation": "search", "dn": "ou=people,dc=example,dc=org", "scope": "sub"
    }  # fmt: skip
    assert [exchange.trace for exchange in exchanges[:3]] == ["", TRACE, ""]
    assert [exchange.summary for exchange in exchanges[:2]] == ["bind simple", "search sub"]
    assert exchanges[-1].kind == "unbind" and not exchanges[-1].replies


def test_replies_are_matched_by_their_ids() -> None:
    listener = Heard(Ldap())
    listener.hear(UPSTREAM, search(7) + search(8) + search(9))
    listener.hear(DOWNSTREAM, busy(8) + busy(7))
    assert [one.answered for one in listener.exchanges()] == [True, True, False]
    assert [p.exchange.number for p in listener.pieces[DOWNSTREAM] if p.exchange] == [2, 1]


def test_a_message_in_pieces_is_not_to_be_broken_into() -> None:
    listener = Heard(Ldap())
    listener.hear(UPSTREAM, search(7))
    reply = message(7, 0x64, octets(b"cn=x") + sequence(octets(b"x" * 200)))
    for at in range(0, len(reply), 50):
        listener.hear(DOWNSTREAM, reply[at : at + 50])
    assert [piece.cut for piece in listener.pieces[DOWNSTREAM]] == [True] * 4 + [False]
    assert not any(piece.last for piece in listener.pieces[DOWNSTREAM])


def test_a_notice_belongs_to_none() -> None:
    listener = Heard(Ldap())
    listener.hear(UPSTREAM, search(7))
    listener.hear(DOWNSTREAM, extended(0, 52, "1.3.6.1.4.1.1466.20036"))
    assert [piece.exchange for piece in listener.pieces[DOWNSTREAM]] == [None]


def test_a_large_request_is_not_held() -> None:
    listener = Heard(Ldap())
    entry = octets(b"cn=big") + sequence(octets(b"x" * 3_000_000))
    data = message(1, 0x68, entry)
    for at in range(0, len(data), 50_000):
        listener.hear(UPSTREAM, data[at : at + 50_000])
        assert len(listener.codec.held(UPSTREAM)) <= 65536
    (one,) = listener.exchanges()
    assert one.fields["dn"] == "cn=big"
    assert one.request_size == len(data)


@pytest.mark.parametrize(
    "data",
    [
        b"\x30\x80\x02\x01\x01\x42\x00\x00\x00",  # an indefinite length
        b"\x30\x85\x00\x00\x00\x00\x05\x02\x01\x01\x42\x00",  # a length of five bytes
        b"\x31\x05\x02\x01\x01\x42\x00",
        b"\x30\x05\x02\x01\x81\x42\x00",  # a negative id
        b"\x30\x05\x02\x01\x00\x42\x00",  # the server's own id
        b"\x30\x05\x02\x01\x01\x42\x09",  # longer than what it is in
        b"\x30\x05\x02\x01\x01\x43\x00",  # no such operation
        b"\x30\x00",
    ],
)
def test_what_is_no_request_is_refused(data: bytes) -> None:
    assert heard(Ldap, [(UPSTREAM, data)]).error


def test_an_id_that_is_in_use_is_refused() -> None:
    assert heard(Ldap, [(UPSTREAM, search(1) + search(1))]).error


def test_a_sasl_security_layer_is_not_understood() -> None:
    granted = message(1, 0x61, b"\x0a\x01\x00" + octets(b"") * 2)
    wrapped = b"\x00\x00\x00\x10" + bytes(16)
    turns = [(UPSTREAM, bind(1, mechanism="GSSAPI")), (DOWNSTREAM, granted), (UPSTREAM, wrapped)]
    assert heard(Ldap, turns).codec.opaque == "a SASL security layer"
    turns[0] = (UPSTREAM, bind(1))
    assert heard(Ldap, turns).error


def test_start_tls_that_is_refused_changes_nothing() -> None:
    start = message(1, 0x77, b"\x80\x161.3.6.1.4.1.1466.20037")
    turns = [(UPSTREAM, start), (DOWNSTREAM, extended(1, 52)), (UPSTREAM, search(2))]
    listener = heard(Ldap, turns)
    assert [one.kind for one in listener.exchanges()] == ["extended", "search"]
    assert not listener.codec.opaque


def test_a_skipped_request_frees_its_id() -> None:
    listener = Heard(Ldap())
    listener.hear(UPSTREAM, search(1))
    listener.codec.skip(listener.exchanges()[0])
    listener.hear(UPSTREAM, search(1))
    listener.hear(DOWNSTREAM, busy(1))
    assert [one.answered for one in listener.exchanges()] == [False, True]
