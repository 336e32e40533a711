"""A Chaos Toolkit experiment as a ``seism.toml``: what can be said in it, and what cannot.

Read are the steady-state hypothesis' HTTP probes (they become routes of the load), the Toxiproxy
extension's actions (``chaostoxi``: they become backends and perturbations) with their pauses,
the configuration, and rollbacks. Of everything else one line says that it was left out.

Source of the format: https://chaostoolkit.org/reference/api/experiment/, and of the actions
chaostoolkit-toxiproxy's own signatures.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from seism.errors import ConfigurationError

TOXIC, PROXY = "chaostoxi.toxic.actions", "chaostoxi.proxy.actions"
CREATED = {
    "create_latency_toxic": ("latency", {"latency": "latency", "jitter": "jitter"}),
    "create_bandwith_degradation_toxic": ("bandwidth", {"rate": "rate"}),
    "create_slow_connection_close_toxic": ("slow_close", {"delay": "delay"}),
    "create_timeout_toxic": ("timeout", {"timeout": "timeout"}),
    "create_slicer_toxic": (
        "slicer",
        {"average_size": "average_size", "size_variation": "size_variation", "delay": "delay"},
    ),
    "create_limiter_toxic": ("limit_data", {"bytes_limit": "bytes"}),
}
"""Action -> the toxic's type, and argument -> attribute."""
PROBES = "chaostoxi.proxy.probes"
UNDONE = "what is perturbed is always undone"
_REFERENCE = re.compile(r"\$\{([^}]+)\}")


@dataclass(slots=True)
class Imported:
    """What came of it."""

    document: dict[str, Any] = field(default_factory=dict)
    """The tables of a ``seism.toml``."""
    notes: list[str] = field(default_factory=list)
    """What was left out, or has to be looked at, one line each: where, and why."""
    title: str = ""


def read(path: Path) -> Any:
    """The content of a JSON or YAML file. Raises ConfigurationError."""
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix.lower() in (".yaml", ".yml"):
            return _yaml(text, path)
        return json.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ConfigurationError(f"{path}: {reason}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path}: {error}") from None


def _yaml(text: str, path: Path) -> Any:
    try:
        import yaml
    except ImportError:
        raise ConfigurationError(f"{path}: PyYAML is needed: pip install seism[yaml]") from None
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path}: {' '.join(str(error).split())}") from None


def translate(experiment: Any, where: str) -> Imported:
    """``experiment`` as it was read from ``where``. Raises ConfigurationError if it is none."""
    if not isinstance(experiment, Mapping) or not isinstance(experiment.get("method"), list):
        raise ConfigurationError(f"{where}: a Chaos Toolkit experiment is an object with a method")
    return _Translation(experiment).done()


@dataclass(slots=True)
class _Perturbed:
    """A perturbation from its begin, in the experiment's own seconds."""

    table: dict[str, Any]
    at: float
    end: float | None = None


class _Translation:
    def __init__(self, experiment: Mapping[str, Any]) -> None:
        self._experiment = experiment
        self._configuration = _object(experiment.get("configuration"))
        self._notes: list[str] = []
        self._routes: dict[tuple[str, str], dict[str, Any]] = {}
        self._allow: dict[str, list[int]] = {}
        self._backends: dict[str, dict[str, Any]] = {}
        self._perturbed: dict[tuple[str, str], _Perturbed] = {}
        self._now = 0.0
        self._url = ""
        self._timeout = 0.0

    def done(self) -> Imported:
        hypothesis = _object(self._experiment.get("steady-state-hypothesis"))
        for place, probe in self._each(hypothesis.get("probes"), "steady-state-hypothesis.probes"):
            self._probe(place, probe)
        for place, activity in self._each(self._experiment["method"], "method"):
            self._paused(activity, "before", place)
            self._activity(place, activity)
            self._paused(activity, "after", place)
        for place, activity in self._each(self._experiment.get("rollbacks"), "rollbacks"):
            module, name, _ = self._called(activity)
            if module in (PROXY, TOXIC):
                self._note(place, f"{name}: not needed, {UNDONE}")
            else:
                self._note(place, "no rollback of the app itself can be said here")
        for key in ("controls", "secrets", "runtime", "extensions"):
            if self._experiment.get(key):
                self._note(key, "left out")
        return Imported(self._document(), self._notes, str(self._experiment.get("title", "")))

    def _document(self) -> dict[str, Any]:
        for proxy in [key[0] for key in self._perturbed]:
            if proxy not in self._backends:
                variable = re.sub(r"\W", "_", proxy).upper() + "_UPSTREAM"
                self._backends[proxy] = {"name": proxy, "upstream": f"${{{variable}}}"}
                self._note(f"backend {proxy!r}", f"its address is not told: set {variable}")
        if not self._routes:
            self._note("load", "there is no HTTP probe: a [[load.route]] is needed")
        document: dict[str, Any] = {"version": 1}
        if self._url:
            document["app"] = {"url": self._url}
        document["backend"] = list(self._backends.values())
        load: dict[str, Any] = {"timeout_s": self._timeout} if self._timeout else {}
        if self._routes:
            document["load"] = {**load, "route": list(self._routes.values())}
        if scheduled := self._schedule():
            document["limits"] = {"at_most": scheduled}
        document["perturbation"] = [each.table for each in self._perturbed.values()]
        if self._allow:
            document["rules"] = {
                "route": {name: {"allow": statuses} for name, statuses in self._allow.items()}
            }
        return {key: value for key, value in document.items() if value not in ([], {})}

    def _schedule(self) -> int:
        """Give those that the pauses give a time theirs; how many last at once, or 0."""
        timed = []
        for each in self._perturbed.values():
            end = self._now if each.end is None else each.end
            if end > each.at:
                each.table |= {"at": each.at, "lasting": end - each.at, "unit": "seconds"}
                timed.append((each.at, end))
        return max((sum(a <= at < b for a, b in timed) for at, _ in timed), default=0)

    def _each(self, values: Any, where: str) -> list[tuple[str, Mapping[str, Any]]]:
        found = []
        for number, value in enumerate(values if isinstance(values, list) else [], 1):
            if isinstance(value, Mapping):
                name = value.get("name") or value.get("ref") or ""
                found.append((f"{where}[{number}] {name!r}", value))
            else:
                self._note(f"{where}[{number}]", "left out: it is no object")
        return found

    def _paused(self, activity: Mapping[str, Any], when: str, place: str) -> None:
        pause = _object(activity.get("pauses")).get(when)
        if pause is None:
            return
        seconds = _number(self._resolved(pause))
        if seconds is None:
            self._note(place, f"the pause {pause!r} is not known before it runs")
        else:
            self._now += seconds

    def _called(self, activity: Mapping[str, Any]) -> tuple[str, str, Mapping[str, Any]]:
        """Module, function and arguments of a Python provider; empty for another one."""
        provider = _object(activity.get("provider"))
        if provider.get("type") != "python":
            return "", "", {}
        arguments = _object(self._resolved(provider.get("arguments")))
        return str(provider.get("module", "")), str(provider.get("func", "")), arguments

    def _activity(self, place: str, activity: Mapping[str, Any]) -> None:
        module, name, arguments = self._called(activity)
        if activity.get("background") and module in (PROXY, TOXIC):
            self._note(place, "background: it is done at its time, and nothing waits for it")
        if module == TOXIC:
            self._toxic(place, name, arguments)
        elif module == PROXY:
            self._proxy(place, name, arguments)
        elif activity.get("type") == "probe":
            self._probe(place, activity)
        else:
            provider = _object(activity.get("provider"))
            what = " ".join(filter(None, (str(provider.get("type", "")), module, name)))
            self._note(place, f"left out: Seism has no {what or 'such'} action")

    def _toxic(self, place: str, name: str, given: Mapping[str, Any]) -> None:
        proxy, toxic = str(given.get("for_proxy", "")), str(given.get("toxic_name", ""))
        if name == "delete_toxic":
            self._over((proxy, toxic), place)
            return
        table: dict[str, Any] = {"name": toxic or "toxic", "backend": proxy}
        if name == "create_toxic":
            type_, stream = given.get("toxic_type", ""), given.get("stream") or "downstream"
            table |= {"type": str(type_), "stream": str(stream)}
            toxicity = _number(given.get("toxicity", 1.0))
            if toxicity not in (None, 1):
                table["toxicity"] = toxicity
            attributes = _object(given.get("attributes"))
        elif name in CREATED:
            type_, keys = CREATED[name]
            table |= {"type": type_, "stream": "downstream"}
            attributes = {keys[key]: value for key, value in given.items() if key in keys}
        else:
            self._note(place, f"left out: the Toxiproxy extension has no {name!r}")
            return
        if attributes:
            table["attributes"] = {
                key: str(value) if (number := _number(value)) is None else number
                for key, value in attributes.items()
                if value is not None
            }
        self._begin((proxy, toxic), table)

    def _proxy(self, place: str, name: str, given: Mapping[str, Any]) -> None:
        proxy = str(given.get("proxy_name", ""))
        enabled = given.get("enabled")
        if name == "create_proxy":
            host, port = (
                _from_environment(given.get(key, "")) for key in ("upstream_host", "upstream_port")
            )
            self._backends[proxy] = {"name": proxy, "upstream": f"{host}:{port}"}
            if given.get("listen_port"):
                listen = f"{given.get('listen_host', '0.0.0.0')}:{given['listen_port']}"
                self._backends[proxy]["listen"] = listen
            if enabled is False:
                self._backends[proxy]["enabled"] = False
        elif name == "disable_proxy" or (name == "modify_proxy" and enabled is False):
            table = {"name": f"{proxy} down", "backend": proxy, "type": "down"}
            self._begin((proxy, ""), table)
        elif name == "enable_proxy" or (name == "modify_proxy" and enabled is True):
            self._over((proxy, ""), place)
        elif name in ("reset", "delete_proxy"):
            for key, each in self._perturbed.items():
                if each.end is None and (name == "reset" or key[0] == proxy):
                    each.end = self._now
        else:
            self._note(place, f"left out: {name} of a proxy is not said here")

    def _begin(self, key: tuple[str, str], table: dict[str, Any]) -> None:
        names = [each.table["name"] for each in self._perturbed.values()]
        if table["name"] in names:
            numbers = (f"{table['name']} {number}" for number in range(2, len(names) + 3))
            table["name"] = next(name for name in numbers if name not in names)
        if key in self._perturbed:  # it was there before, and is over
            earlier = self._perturbed.pop(key)
            earlier.end = self._now if earlier.end is None else earlier.end
            self._perturbed[(key[0], f"{key[1]}\0{len(self._perturbed)}")] = earlier
        self._perturbed[key] = _Perturbed(table, self._now)

    def _over(self, key: tuple[str, str], place: str) -> None:
        perturbed = self._perturbed.get(key)
        if perturbed is None:
            self._note(place, "left out: nothing of that name has begun before")
        elif perturbed.end is None:
            perturbed.end = self._now

    def _probe(self, place: str, probe: Mapping[str, Any]) -> None:
        provider = _object(probe.get("provider"))
        if provider.get("type") != "http":
            module = str(provider.get("module", ""))
            why = (
                "a backend that no connection reaches ends the run by itself"
                if module == PROBES
                else f"Seism asks over HTTP only, not by {provider.get('type') or 'nothing'}"
            )
            self._note(place, f"left out: {why}")
            return
        given = str(self._resolved(provider.get("url", "")))
        try:
            url = urlsplit(given)
        except ValueError as error:
            self._note(place, f"left out: {given!r} is no address: {error}")
            return
        method = str(provider.get("method", "GET")).upper()
        self._base(place, f"{url.scheme}://{url.netloc}")
        path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        route: dict[str, Any] = {"path": path}
        if method != "GET":
            route["method"] = method
        if headers := _object(self._resolved(provider.get("headers"))):
            route["headers"] = {key: str(value) for key, value in headers.items()}
        if body := self._resolved(provider.get("arguments")):
            route["body"] = body if isinstance(body, str) else json.dumps(body)
        self._routes.setdefault((method, path), route)
        self._tolerated(place, f"{method} {url.path or '/'}", probe.get("tolerance"))
        timeout = provider.get("timeout")
        for each in timeout if isinstance(timeout, list) else [timeout]:
            self._timeout = max(self._timeout, _number(each) or 0.0)

    def _base(self, place: str, url: str) -> None:
        if self._url in ("", url):
            self._url = url
        else:
            self._note(place, f"only {self._url} is asked, not {url}: the path is kept")

    def _tolerated(self, place: str, route: str, tolerance: Any) -> None:
        if tolerance is None:
            return
        statuses = tolerance if isinstance(tolerance, list) else [tolerance]
        if isinstance(tolerance, Mapping) and tolerance.get("type") == "range":
            bounds = tolerance.get("range")
            low, high = bounds if isinstance(bounds, list) and len(bounds) == 2 else (0, -1)
            statuses = [
                each for each in (500, 502, 504)
                if (_number(low) or 0) <= each <= (_number(high) or 0)
            ]  # fmt: skip
        elif isinstance(tolerance, Mapping) or not all(type(s) is int for s in statuses):
            self._note(place, "its tolerance is left out: statuses are judged, not contents")
            return
        wrong = [each for each in statuses if each >= 500 and each != 503]
        if wrong:
            self._allow[route] = wrong

    def _resolved(self, value: Any) -> Any:
        """``value`` with what the configuration says for its references."""
        if isinstance(value, Mapping):
            return {key: self._resolved(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._resolved(item) for item in value]
        if not isinstance(value, str):
            return value
        whole = _REFERENCE.fullmatch(value)
        if whole and whole[1] in self._configuration:
            return self._configured(whole[1])
        return _REFERENCE.sub(
            lambda found: (
                str(self._configured(found[1])) if found[1] in self._configuration else found[0]
            ),
            value,
        )

    def _configured(self, key: str) -> Any:
        value = self._configuration[key]
        if isinstance(value, Mapping) and value.get("type") == "env":
            return value.get("default", f"${{{value.get('key', key)}}}")
        return value

    def _note(self, where: str, why: str) -> None:
        self._notes.append(f"{where}: {why}")


def _object(value: Any) -> Mapping[str, Any]:
    """``value``, or an empty one if it is none."""
    return value if isinstance(value, Mapping) else {}


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    if not math.isfinite(number):
        return None
    return int(number) if number == int(number) else number


def _from_environment(value: Any) -> str:
    """``env:NAME``, as the extension has it, as this file has it."""
    text = str(value)
    return f"${{{text[4:]}}}" if text.startswith("env:") else text


def comments(imported: Imported, source: Sequence[str]) -> str:
    """The head of the file: where it is from, and what was left out."""
    lines = [*source, *imported.notes]
    return "".join(f"# {' '.join(line.split())}\n" for line in filter(None, lines))
