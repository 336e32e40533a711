"""Toxiproxy's HTTP API, as its unmodified clients use it (measured against 2.12.0).

Its leniency is kept where a client lives by it: the Content-Type is ignored, keys match
in any case, null is the default, unknown fields are ignored. What is ignored is said
in a ``Warning`` header and logged. Attributes that cannot work are refused.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from webob import Request, Response

from seism.errors import ConfigurationError
from seism.model import UNIX, ClientTls, ProxySpec, ServerTls, ToxicSpec
from seism.options import build, describe, names, option
from seism.proxy.collection import MAX_PROXIES, MAX_TOXICS, Collection, Interrupted
from seism.proxy.proxy import Proxy
from seism.proxy.slices import in_slices
from seism.registry import Registry
from seism.schema import PARTIAL, SHOWN
from seism.sidecar.control.guard import Forbidden
from seism.sidecar.control.lease import Leases
from seism.sidecar.control.router import (
    TRUSTED,
    Handler,
    Route,
    Warnings,
    answer,
    empty,
    failure,
    read_json,
)
from seism_middleware.contract import DOWNSTREAM, UPSTREAM

COMPATIBLE_VERSION = "2.12.0"
"""What ``/version`` says: clients choose their HTTP methods by it."""

_PROXY_KEYS = ("name", "listen", "upstream", "enabled", "toxics", "tls", "upstream_tls", "refused",
               "protocol")  # fmt: skip
_TLS_KEYS = {"tls": ServerTls, "upstream_tls": ClientTls}
_TOXIC_KEYS = names(ToxicSpec)


@dataclass(frozen=True, slots=True)
class ProxyBody(ProxySpec):
    """A back proxy with its toxics."""

    toxics: tuple[ToxicSpec, ...] = option((), help="in the order in which they are chained")


@dataclass(frozen=True, slots=True)
class ProxyShown(ProxyBody):
    """A back proxy as it is."""

    tls_failures: dict[str, int] = option({}, help="TLS handshakes that failed, by side and reason")
    opaque: dict[str, int] = option(
        {}, help="connections that the protocol's codec no longer understands, by reason"
    )


_PROXY = Annotated[ProxyShown, SHOWN]
_TOXIC = Annotated[ToxicSpec, SHOWN]


def routes(
    collection: Collection, leases: Leases | None = None, version: str = COMPATIBLE_VERSION
) -> list[Route]:
    """The rows for the router; without ``leases`` nothing can be done under one."""
    api = _Api(collection, leases, version)
    one, toxics, toxic = "/proxies/{proxy}", "/proxies/{proxy}/toxics", (
        "/proxies/{proxy}/toxics/{toxic}"
    )  # fmt: skip
    return [
        Route("GET", "/version", api.version, "The version of Toxiproxy that this is like",
              gives=dict[str, str]),
        Route("POST", "/reset", api.reset, "Start every proxy, remove all toxics", status=204),
        Route("POST", "/populate", api.populate, "Create or replace proxies with their toxics",
              takes=list[ProxyBody], gives=dict[str, list[_PROXY]], status=201, errors=(409,)),
        Route("GET", "/proxies", api.proxies, "All proxies, by name", gives=dict[str, _PROXY]),
        Route("POST", "/proxies", api.create, "Create a proxy with its toxics",
              takes=ProxyBody, gives=_PROXY, status=201, errors=(409,)),
        Route("GET", one, api.proxy, "One proxy", gives=_PROXY),
        *_twice(one, api.update, "Change a proxy's addresses, take it down or up",
                takes=Annotated[ProxyBody, PARTIAL], gives=_PROXY),
        Route("DELETE", one, api.delete, "Stop and forget a proxy", status=204),
        Route("GET", toxics, api.toxics, "A proxy's toxics", gives=list[_TOXIC]),
        Route("POST", toxics, api.add_toxic, "Add a toxic, at once on live connections too",
              takes=ToxicSpec, gives=_TOXIC, errors=(409,)),
        Route("GET", toxic, api.toxic, "One toxic", gives=_TOXIC),
        *_twice(toxic, api.update_toxic, "Change some attributes, or the toxicity",
                takes=Annotated[ToxicSpec, PARTIAL], gives=_TOXIC),
        Route("DELETE", toxic, api.remove_toxic, "Remove a toxic, at once", status=204),
    ]  # fmt: skip


def _twice(path: str, handler: Handler, summary: str, **shapes: Any) -> list[Route]:
    """An update's two rows: POST is Toxiproxy's old way, and most of its clients' way."""
    return [Route(method, path, handler, summary, **shapes) for method in ("PATCH", "POST")]


def proxy_values(proxy: Proxy) -> dict[str, Any]:
    """The JSON object of a proxy; what Toxiproxy does not know is there only if it is used."""
    values: dict[str, Any] = {
        "name": proxy.name,
        "listen": proxy.listen,
        "upstream": proxy.upstream,
        "enabled": proxy.enabled,
        "toxics": [toxic.values() for toxic in proxy.toxics],
    }
    spec = proxy.spec
    for key in _TLS_KEYS:
        options = getattr(spec, key)
        if options is not None:
            values[key] = asdict(options)
            values["tls_failures"] = dict(proxy.tls_failures)
    if spec.refused != "reset":
        values["refused"] = spec.refused
    if spec.protocol:
        values["protocol"] = spec.protocol
        if proxy.opaque:
            values["opaque"] = dict(proxy.opaque)
    return values


class _Api:
    def __init__(self, collection: Collection, leases: Leases | None, version: str) -> None:
        self._collection = collection
        self._leases = leases
        self._version = version

    def version(self, request: Request) -> Response:
        return answer({"version": self._version})

    def reset(self, request: Request) -> Response:
        self._collection.reset()
        return empty()

    def populate(self, request: Request) -> Response:
        given = read_json(request)
        if not isinstance(given, list):
            raise ConfigurationError("bad request body: a list of proxies is expected")
        if len(given) > MAX_PROXIES:
            raise ConfigurationError(f"too many proxies: {len(given)} (maximum {MAX_PROXIES})")
        warnings = Warnings()
        entries = [
            self._proxy_entry(values, warnings, f" at proxy {number}")
            for number, values in enumerate(in_slices(given), start=1)
        ]
        for spec, _ in entries:
            _check_files(request, spec)
        before = {proxy.name: proxy for proxy in self._collection.list()}
        try:
            done = self._collection.populate(entries)
        except Interrupted as error:
            listed = [proxy_values(proxy) for proxy in in_slices(error.done)]
            return failure(str(error), error.status, proxies=listed)
        for proxy, (spec, toxics) in zip(done, entries, strict=True):
            if toxics and before.get(spec.name) is proxy:
                warnings.add(f"proxy {spec.name} is untouched, and so are its toxics")
        listed = [proxy_values(proxy) for proxy in in_slices(done)]
        return answer({"proxies": listed}, 201, warnings)

    def proxies(self, request: Request) -> Response:
        shown = in_slices(self._collection.list())
        return answer({proxy.name: proxy_values(proxy) for proxy in shown})

    def create(self, request: Request) -> Response:
        warnings = Warnings()
        spec, toxics = self._proxy_entry(read_json(request), warnings)
        _check_files(request, spec)
        return answer(proxy_values(self._collection.create(spec, toxics)), 201, warnings)

    def proxy(self, request: Request, proxy: str) -> Response:
        return answer(proxy_values(self._collection.get(proxy)))

    def update(self, request: Request, proxy: str) -> Response:
        self._check_lease(request)
        there = self._collection.get(proxy)
        warnings = Warnings()
        given = _proxy_fields(read_json(request), warnings)
        for key in ("name", "toxics"):
            if given.pop(key, there.name) not in (there.name, []):
                warnings.add(f"field {key!r} cannot be changed here and is ignored")
        current = {"name": proxy, "upstream": there.upstream, "enabled": there.enabled}
        spec = build(ProxySpec, {**current, **given}, f"proxy {proxy}", lenient=True)
        _check_files(request, spec)
        protocol = there.protocol
        updated = self._collection.update(
            proxy,
            listen=spec.listen if "listen" in given else None,
            upstream=spec.upstream,
            enabled=spec.enabled if "enabled" in given else None,
            tls=spec.tls,
            upstream_tls=spec.upstream_tls,
            refused=spec.refused if "refused" in given else None,
            protocol=spec.protocol if "protocol" in given else None,
        )
        if protocol != updated.protocol and updated.connections:
            warnings.add(f"the protocol counts for new connections; {updated.connections} are open")
        if self._leases is not None and "enabled" in given:
            self._leases.switched(request, proxy, updated.enabled)
        return answer(proxy_values(updated), warnings=warnings)

    def delete(self, request: Request, proxy: str) -> Response:
        self._collection.delete(proxy)
        return empty()

    def toxics(self, request: Request, proxy: str) -> Response:
        return answer([toxic.values() for toxic in self._collection.get(proxy).toxics])

    def add_toxic(self, request: Request, proxy: str) -> Response:
        self._check_lease(request)
        self._collection.get(proxy)
        warnings = Warnings()
        given = _fields(read_json(request), _TOXIC_KEYS, warnings)
        spec = _toxic_spec(given, self._collection.registry, warnings)
        installed = self._collection.add_toxic(proxy, spec)
        if self._leases is not None:
            self._leases.toxic_added(request, proxy, installed)
        return answer(installed.values(), warnings=warnings)

    def toxic(self, request: Request, proxy: str, toxic: str) -> Response:
        return answer(self._collection.get(proxy).toxic(toxic).values())

    def update_toxic(self, request: Request, proxy: str, toxic: str) -> Response:
        installed = self._collection.get(proxy).toxic(toxic)
        warnings = Warnings()
        given = _fields(read_json(request), _TOXIC_KEYS, warnings)
        there = installed.values()
        for key in describe(ToxicSpec):
            now = str(there.get(key.name, key.default))
            if key.option.fixed and str(given.pop(key.name, now)).lower() not in ("", now.lower()):
                warnings.add(f"field {key.name!r} cannot be changed and is ignored")
        # The type is only there to make a whole spec of what is given.
        spec = build(ToxicSpec, {**given, "type": installed.type}, f"toxic {toxic}", lenient=True)
        updated = self._collection.update_toxic(
            proxy,
            toxic,
            **{key: getattr(spec, key) for key in given if key != "attributes"},
            attributes=_attributes(spec.attributes, type(installed.toxic), warnings),
        )
        return answer(updated.values(), warnings=warnings)

    def remove_toxic(self, request: Request, proxy: str, toxic: str) -> Response:
        self._collection.remove_toxic(proxy, toxic)
        return empty()

    def _check_lease(self, request: Request) -> None:
        """Raises Conflict for a call under a lease that is over; nothing is changed then."""
        if self._leases is not None:
            self._leases.check(request)

    def _proxy_entry(
        self, values: Any, warnings: Warnings, position: str = ""
    ) -> tuple[ProxySpec, Sequence[ToxicSpec]]:
        """``position`` says which one of several it is."""
        given = _proxy_fields(values, warnings)
        for key in ("name", "upstream"):
            if given.get(key, "") == "":
                raise ConfigurationError(f"missing required field: {key}{position}")
        toxics = given.pop("toxics", [])
        if not isinstance(toxics, list):
            raise ConfigurationError(f"toxics: a list is expected{position}")
        if len(toxics) > MAX_TOXICS:
            raise ConfigurationError(
                f"toxics: too many on one proxy: {len(toxics)} (maximum {MAX_TOXICS}){position}"
            )
        spec = build(ProxySpec, given, f"proxy {given['name']}", lenient=True)
        registry = self._collection.registry
        return spec, [
            _toxic_spec(_fields(each, _TOXIC_KEYS, warnings), registry, warnings) for each in toxics
        ]


def _check_files(request: Request, spec: ProxySpec) -> None:
    """Raises Forbidden if ``spec`` names a file, and the caller may not use our rights."""
    files = (("tls", "certificate"), ("tls", "key"), ("upstream_tls", "ca"))
    named = [f"{key}.{name}" for key, name in files if getattr(getattr(spec, key), name, "")]
    named += [key for key in ("listen", "upstream") if getattr(spec, key).startswith(UNIX)]
    if named and not request.environ.get(TRUSTED, False):
        raise Forbidden(
            f"proxy {spec.name}: {named[0]}: naming a file or a Unix socket needs a token"
        )


def _fields(values: Any, known: Sequence[str], warnings: Warnings) -> dict[str, Any]:
    """The known fields of a JSON object, by their own names; null is as if not given."""
    if not isinstance(values, Mapping):
        raise ConfigurationError("bad request body: an object is expected")
    fields: dict[str, Any] = {}
    for key, value in values.items():
        if key.lower() not in known:
            warnings.unknown("field", key, known)
        elif value is not None:
            fields[key.lower()] = value
    return fields


def _proxy_fields(values: Any, warnings: Warnings) -> dict[str, Any]:
    given = _fields(values, _PROXY_KEYS, warnings)
    for key, cls in _TLS_KEYS.items():
        if isinstance(given.get(key), Mapping):
            known = [described.name for described in describe(cls)]
            given[key] = _fields(given[key], known, warnings)
    return given


def _toxic_spec(given: dict[str, Any], registry: Registry, warnings: Warnings) -> ToxicSpec:
    stream = given.get("stream", DOWNSTREAM)
    if str(stream).lower() not in (UPSTREAM, DOWNSTREAM):
        raise ConfigurationError("stream was invalid, can be either upstream or downstream")
    kind = given.get("type")
    if not isinstance(kind, str) or kind not in registry.toxics:
        raise ConfigurationError("invalid toxic type")
    default_name = {"name": f"{kind}_{stream}"} if not given.get("name") else {}
    spec = build(
        ToxicSpec, {**given, "stream": stream.lower(), **default_name}, f"toxic {kind}",
        lenient=True,
    )  # fmt: skip
    attributes = _attributes(spec.attributes, registry.toxic(kind), warnings)
    return dataclasses.replace(spec, attributes=attributes)


def _attributes(given: Mapping[str, Any], toxic: type[Any], warnings: Warnings) -> dict[str, Any]:
    """Attributes under their declared names."""
    declared = {described.name.lower(): described.name for described in describe(toxic)}
    attributes = {}
    for key, value in given.items():
        if key.lower() not in declared:
            warnings.unknown("attribute", key, declared.values(), f" of {toxic.type}")
        elif value is not None:
            attributes[declared[key.lower()]] = value
    return attributes
