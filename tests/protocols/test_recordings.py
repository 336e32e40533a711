"""Every codec on recordings of real servers and clients: whole, cut, truncated, mutated."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seism.protocols.base import Codec
from tests.protocols.corpus import follow, told
from tests.protocols.record import Chunks, read, recordings

CODECS = {
    "http": "seism.protocols.http:Http",
    "memcached": "seism.protocols.memcached:Memcached",
    "ldap": "seism.protocols.ldap:Ldap",
    "smtp": "seism.protocols.smtp:Smtp",
}
RECORDINGS = [path for protocol in CODECS for path in recordings(protocol)]
every = pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: f"{path.parent.name}-{path.stem}")


def codec(path: Path) -> Codec:
    module, _, name = CODECS[path.parent.name].partition(":")
    made: Codec = getattr(importlib.import_module(module), name)()
    return made


def sessions(path: Path) -> dict[str, object]:
    module = importlib.import_module(f"tests.protocols.sessions.{path.parent.name}")
    found: dict[str, object] = module.SESSIONS
    return found


@every
def test_it_tells_what_the_client_has_done(path: Path) -> None:
    follower = follow(codec(path), read(path))
    assert not follower.error
    declared = sessions(path)[path.stem]
    assert [one.kind for one in follower.exchanges] == declared.kinds  # type: ignore[attr-defined]
    assert follower.codec.opaque == declared.opaque  # type: ignore[attr-defined]
    if not follower.codec.opaque:
        assert all(one.answered for one in follower.exchanges)


@every
@pytest.mark.parametrize("cut", [1, 2, 7, 1000])
def test_it_tells_the_same_however_the_bytes_are_cut(path: Path, cut: int) -> None:
    whole = follow(codec(path), read(path))
    parts = follow(codec(path), read(path), cut)
    assert told(parts) == told(whole)
    assert (parts.error, parts.codec.opaque) == (whole.error, whole.codec.opaque)


@every
def test_without_details_it_finds_the_same_ends(path: Path) -> None:
    whole, bare = codec(path), codec(path)
    bare.detail = False
    sizes = [
        [(one.number, one.request_size, one.reply_size) for one in follow(made, read(path)).exchanges]
        for made in (whole, bare)
    ]
    assert sizes[0] == sizes[1]


@every
def test_it_may_be_truncated_anywhere(path: Path) -> None:
    chunks = read(path)
    total = sum(len(data) for _, data in chunks)
    for end in range(0, total, max(1, total // 200)):
        assert not follow(codec(path), truncated(chunks, end)).error


def truncated(chunks: Chunks, end: int) -> Chunks:
    kept: Chunks = []
    for way, data in chunks:
        kept.append((way, data[:end]))
        end -= min(end, len(data))
    return kept


@every
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_it_survives_mutations(path: Path, data: st.DataObject) -> None:
    """Nothing but ProtocolError comes out, and no byte is lost, doubled or moved."""
    chunks = read(path)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(chunks) - 1))
        way, old = chunks[at]
        where = data.draw(st.integers(0, len(old)))
        cut = data.draw(st.integers(0, 40))
        chunks[at] = (way, old[:where] + data.draw(st.binary(max_size=20)) + old[where + cut :])
    follow(codec(path), chunks, data.draw(st.sampled_from([0, 1, 13])))
