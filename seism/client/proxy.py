"""Handles of one proxy and of one toxic. Making one asks nobody."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from itertools import count
from typing import Any, TypedDict

from seism.client.control import Control, proxy_path, toxic_path
from seism.client.layers import Layers, Target, undone
from seism.errors import ConfigurationError, Conflict, NotFound
from seism.model import ToxicSpec, address
from seism.options import describe, nearest

COMMON = {key.name: key for key in describe(ToxicSpec)}
"""What any toxic can have."""
FIXED = {name for name, key in COMMON.items() if key.option.fixed}


ToxicValues = dict[str, Any]
"""A toxic as the API shows it: the keys of ``ToxicSpec``, those of Seism's own only where used."""


class ProxyValues(TypedDict):
    """A proxy as the API shows it."""

    name: str
    listen: str
    upstream: str
    enabled: bool
    toxics: list[ToxicValues]


class Proxy:
    """The proxy called ``name``, whether it is there or not.

    Every method raises NotFound if it is not, Unavailable if the sidecar is away.
    """

    def __init__(self, control: Control, layers: Layers, name: str) -> None:
        self._control = control
        self._layers = layers
        self.name = name

    def get(self) -> ProxyValues:
        """How it is now."""
        found: ProxyValues = self._control.call("GET", proxy_path(self.name))
        return found

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that it listens on now."""
        return address(self.get()["listen"], self.name)

    def update(self, **values: Any) -> ProxyValues:
        """Change ``listen``, ``upstream`` or ``enabled``.

        Another address drops its connections. Raises ConfigurationError, and SeismError
        if the address cannot be bound; the proxy is as before then.
        """
        updated: ProxyValues = self._control.call("PATCH", proxy_path(self.name), values)
        return updated

    def delete(self) -> None:
        """Stop and forget it."""
        self._control.call("DELETE", proxy_path(self.name))

    def toxics(self) -> list[ToxicValues]:
        """Its toxics in the order in which they act."""
        return self.get()["toxics"]

    def add_toxic(
        self, type: str, name: str = "", *, attributes: Mapping[str, Any] | None = None, **keys: Any
    ) -> Toxic:
        """A toxic that stays. Without ``name`` it is ``<type>_<stream>``.

        ``keys`` are those of ``ToxicSpec``, such as ``stream``, ``toxicity`` and ``match``.

        Raises Conflict if the name is taken, ConfigurationError.
        """
        for key in keys:
            if key not in COMMON:
                raise ConfigurationError(f"toxic {type}: unknown key {key!r}{nearest(key, COMMON)}")
        values = {"type": type, "name": name, "attributes": dict(attributes or {}), **keys}
        path = f"{proxy_path(self.name)}/toxics"
        added: ToxicValues = self._control.call("POST", path, values)
        return self.named(added["name"])

    def named(self, toxic: str) -> Toxic:
        """The handle of a toxic, whether it is there or not."""
        return Toxic(self, toxic)

    @contextmanager
    def down(self) -> Iterator[Proxy]:
        """The backend is away within the block: connections are cut, new ones refused."""
        with self.changed(enabled=False):
            yield self

    @contextmanager
    def changed(self, **values: Any) -> Iterator[Proxy]:
        """``update`` within the block."""
        target = Target(("proxy", self.name), self._read, lambda new: self._write(new))
        with self._layers.put(target, values):
            yield self

    @contextmanager
    def toxic(
        self, type: str, name: str = "", *, attributes: Mapping[str, Any] | None = None, **keys: Any
    ) -> Iterator[Toxic]:
        """A toxic that is there within the block.

        ``keys`` are those of ``ToxicSpec``, and attributes of the type; what could be either is
        the former, so such attributes go into ``attributes``.

        Without ``name`` it is ``<type>_<stream>``, or, where that is taken, the same with
        ``_2``, ``_3``: chance follows from names, so that a seed repeats a run.
        """
        common, own = _split(keys)
        stream = common.setdefault("stream", ToxicSpec(type).stream)
        own |= attributes or {}
        ours: list[str] = []

        def remove() -> None:
            # Under the same name there may be another one by now.
            for added in ours:
                toxic = self.named(added)
                try:
                    there = toxic.get()
                    if (there["type"], there["stream"]) == (type, stream.lower()):
                        toxic.remove()
                except NotFound:
                    pass

        with undone(remove):
            taken = {there["name"] for there in self.toxics()}
            for each in [name] if name else _names(f"{type}_{stream}"):
                if each in taken and not name:
                    continue
                if each not in taken:
                    ours.append(each)
                try:
                    added = self.add_toxic(type, each, attributes=own, **common)
                    break
                except Conflict:
                    # Somebody was faster, so this one is theirs.
                    ours.clear()
                    if name:
                        raise
            yield added

    def _read(self) -> dict[str, Any]:
        return dict(self.get())

    def _write(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return dict(self.update(**values))


class Toxic:
    """The toxic called ``name`` on ``proxy``, whether it is there or not."""

    def __init__(self, proxy: Proxy, name: str) -> None:
        self.proxy = proxy
        self.name = name
        self._control = proxy._control
        self._path = toxic_path(proxy.name, name)

    def get(self) -> ToxicValues:
        """How it is now. Raises NotFound."""
        found: ToxicValues = self._control.call("GET", self._path)
        return found

    def update(self, *, attributes: Mapping[str, Any] | None = None, **keys: Any) -> ToxicValues:
        """Change what is given, at once on live connections. Raises ConfigurationError.

        ``keys`` are attributes, and those of ``ToxicSpec`` that can be changed, such as
        ``toxicity``. ``exchange`` are all the conditions of a fault, in place of those that
        there were; empty: none.
        """
        common, own = _split(keys)
        for key in common.keys() & FIXED:
            raise ConfigurationError(
                f"toxic {self.name}: {key} can't be changed, add the toxic anew"
            )
        values = {**common, "attributes": {**own, **(attributes or {})}}
        updated: ToxicValues = self._control.call("PATCH", self._path, values)
        return updated

    def remove(self) -> None:
        self._control.call("DELETE", self._path)

    @contextmanager
    def changed(
        self, *, attributes: Mapping[str, Any] | None = None, **keys: Any
    ) -> Iterator[Toxic]:
        """``update`` within the block."""
        common, own = _split(keys)
        own |= attributes or {}
        values = {**common, **{f"attributes.{name}": value for name, value in own.items()}}
        target = Target(
            ("toxic", self.proxy.name, self.name), lambda: _flat(self.get()), self._write
        )
        with self.proxy._layers.put(target, values):
            yield self

    def _write(self, values: Mapping[str, Any]) -> dict[str, Any]:
        attributes = {
            name.removeprefix("attributes."): value
            for name, value in values.items()
            if name.startswith("attributes.")
        }
        common = {name: value for name, value in values.items() if name in COMMON}
        return _flat(self.update(attributes=attributes, **common))


def _split(keys: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What any toxic can have, and what is of its type."""
    common = {key: value for key, value in keys.items() if key in COMMON}
    return common, {key: value for key, value in keys.items() if key not in COMMON}


def _flat(values: ToxicValues) -> dict[str, Any]:
    # What Toxiproxy does not know need not be shown while it is at its default.
    flat = {**asdict(ToxicSpec(values["type"])), **values}
    attributes = {**_defaults(values["type"]), **flat.pop("attributes")}
    return {**flat, **{f"attributes.{name}": value for name, value in attributes.items()}}


def _defaults(type: str) -> dict[str, Any]:
    """The attributes of a type that is installed here, too."""
    from seism.registry import load

    declared = load().toxics.get(type)
    return {key.name: key.default for key in describe(declared)} if declared else {}


def _names(base: str) -> Iterator[str]:
    yield base
    yield from (f"{base}_{number}" for number in count(2))
