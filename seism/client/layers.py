"""Changes that are taken back: layers over the values that were there.

Each ``with`` block puts its own layer over a value. Blocks may end in any order, as
they do in threads: a layer that is on top uncovers what lies below it, one that is
covered just goes. A value that somebody else has changed in the meantime is not ours to
take back: it stays.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from seism.errors import NotFound, SeismError

Values = Mapping[str, Any]


@dataclass(slots=True)
class _Stack:
    """One value: what was there before us, and what each block made of it."""

    base: Any
    layers: list[tuple[object, Any]] = field(default_factory=list)

    @property
    def top(self) -> Any:
        return self.layers[-1][1] if self.layers else self.base


@dataclass(frozen=True, slots=True)
class Target:
    """Something with values. Both functions raise NotFound once it is gone."""

    key: tuple[str, ...]
    read: Callable[[], Values]
    write: Callable[[Values], Values]
    """Takes the values to change, gives all of them as they are then."""


class Layers:
    """All layers that one client has put on, by the target's key and the value's."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._stacks: dict[tuple[tuple[str, ...], str], _Stack] = {}

    @contextmanager
    def put(self, target: Target, values: Values) -> Iterator[None]:
        """``values`` hold within the block. Raises what reading and writing raise."""
        token = object()
        with undone(lambda: self._take_off(target, token)):
            self._put_on(target, token, values)
            yield

    def _put_on(self, target: Target, token: object, values: Values) -> None:
        with self._lock:
            there = target.read()
            for name, value in values.items():
                now = there.get(name)
                stack = self._stacks.get((target.key, name))
                if stack is None or stack.top != now:
                    # Nothing is below, or somebody else's value is.
                    stack = self._stacks[target.key, name] = _Stack(now)
                stack.layers.append((token, value))
            after = target.write(values)
            for name in values:
                # As the sidecar has it: port 0 has become a port.
                self._stacks[target.key, name].layers[-1] = (token, after.get(name))

    def _take_off(self, target: Target, token: object) -> None:
        with self._lock:
            try:
                self._uncover(target, token)
            except SeismError:
                self._forget(token)
                raise
            # Not before: an interrupt must leave something to take off the second time.
            self._forget(token)

    def _uncover(self, target: Target, token: object) -> None:
        """Write what lies below the layers of ``token``, where they are on top."""
        uncovered: dict[str, tuple[Any, Any]] = {}
        for (key, name), stack in self._stacks.items():
            if key == target.key and stack.layers and stack.layers[-1][0] is token:
                below = stack.layers[-2][1] if len(stack.layers) > 1 else stack.base
                if below != stack.top:
                    uncovered[name] = (stack.top, below)
        if not uncovered:
            return
        try:
            there = target.read()
            back = {
                name: below for name, (top, below) in uncovered.items() if there.get(name) == top
            }
            if back:
                target.write(back)
        except NotFound:
            pass

    def _forget(self, token: object) -> None:
        for where, stack in list(self._stacks.items()):
            stack.layers = [layer for layer in stack.layers if layer[0] is not token]
            if not stack.layers:
                del self._stacks[where]


@contextmanager
def undone(undo: Callable[[], None]) -> Iterator[None]:
    """Whatever ends the block, ``undo`` is done; it must bear to be called twice.

    An error of the block stays the error that is seen; one of ``undo`` becomes a note
    of it then.
    """
    try:
        yield
    except BaseException as error:
        try:
            _firmly(undo)
        except SeismError as failed:
            error.add_note(f"seism: not undone: {failed}")
        raise
    else:
        _firmly(undo)


def _firmly(undo: Callable[[], None]) -> None:
    try:
        undo()
    except KeyboardInterrupt:
        undo()
        raise
