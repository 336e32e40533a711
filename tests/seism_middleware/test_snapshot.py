from __future__ import annotations

from collections.abc import Iterator

from seism_middleware.snapshot import snapshot


def test_what_changes_meanwhile_is_copied_again() -> None:
    entries = {1: "a", 2: "b", 3: "c"}

    class Live:
        """Loses an entry while it is copied for the first time, as by the garbage collector."""

        def __iter__(self) -> Iterator[int]:
            for key in entries:
                entries.pop(2, None)
                yield key

    assert snapshot(Live()) == [1, 3]
    assert snapshot(entries.items()) == [(1, "a"), (3, "c")]
