"""Points an app at the proxies without a change to it: addresses in its settings are replaced.

What holds a backend's address is replaced in place: ``host:port`` anywhere in a value, a
URL without a port where the backend has its scheme's usual one, ``host=... port=...`` in
one value, and host and port in two settings whose names differ in that word only
(``DB_HOST`` and ``DB_PORT``). ``localhost``, ``127.0.0.1`` and ``::1`` are the same host.

Pure, but for the private copies of .ini files that ``Copies`` makes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path

from seism.errors import ConfigurationError
from seism.model import address, show_address, unix_path

LOOPBACK = ("localhost", "127.0.0.1", "::1")
USUAL_PORTS = {
    "redis": 6379, "valkey": 6379, "rediss": 6379, "postgres": 5432, "postgresql": 5432,
    "mysql": 3306, "mariadb": 3306, "ldap": 389, "ldaps": 636, "smtp": 25, "memcached": 11211,
    "amqp": 5672, "mongodb": 27017, "http": 80, "https": 443,
}  # fmt: skip
"""What a URL without a port means, by its scheme (IANA's registry of port numbers)."""

_HOST_WORD = re.compile(r"(?i)hostname|host|server|address|addr")
_SETTING = re.compile(r"^([^\s#;\[=:][^=:]*?)(\s*[=:]\s*)(.*?)(\s*)$")
_SECTION = re.compile(r"^\[(.*)\]\s*$")
_INCLUDE = re.compile(r"config:([^\s#,]+)")
_INI_WORD = re.compile(r"^(.*[:=])?([^:=]+\.ini)(#.*)?$")
_OURS = "SEISM_"
"""What the names of our own environment variables begin with."""


@dataclass(frozen=True, slots=True)
class Rewritten:
    """One address that was replaced. It holds addresses only, no other part of a value."""

    where: str
    """``environment DATABASE_URL``, ``app.ini [app:main] redis.url``."""
    backend: str
    was: str
    now: str

    def __str__(self) -> str:
        return f"{self.where}: {self.was} is now {self.now} ({self.backend})"


@dataclass(frozen=True, slots=True)
class Place:
    """A backend's address and its proxy's, both on TCP."""

    backend: str
    host: str
    port: int
    proxy: str
    """``host:port``."""

    @property
    def hosts(self) -> tuple[str, ...]:
        """All names of its host."""
        return LOOPBACK if self.host.lower() in LOOPBACK else (self.host,)

    @property
    def proxy_host(self) -> str:
        return address(self.proxy, self.backend)[0]

    @property
    def proxy_port(self) -> str:
        return str(address(self.proxy, self.backend)[1])

    def is_host(self, text: str) -> bool:
        return text.strip().strip("[]").lower() in {host.lower() for host in self.hosts}


def places(upstreams: Mapping[str, str], proxies: Mapping[str, str]) -> tuple[Place, ...]:
    """``upstreams`` and ``proxies`` are addresses by backend; Unix sockets are left out."""
    found = []
    for backend, upstream in upstreams.items():
        host, port = address(upstream, backend)
        if not unix_path(host) and not unix_path(address(proxies[backend], backend)[0]):
            found.append(Place(backend, host, port, proxies[backend]))
    return tuple(found)


@dataclass(slots=True)
class Rewriter:
    """Replaces, and remembers what it replaced."""

    places: tuple[Place, ...]
    done: list[Rewritten] = field(default_factory=list)

    def value(self, text: str, where: str) -> str:
        """``text`` with each address of a backend replaced by its proxy's."""
        for place in self.places:
            text = self._addresses(text, place, where)
            text = self._without_port(text, place, where)
            text = self._in_words(text, place, where)
        return text

    def settings(
        self, values: MutableMapping[str, str], where: str, names: Iterable[str] | None = None
    ) -> None:
        """Rewrite ``values`` in place, those of ``names`` only, host and port apart as well."""
        keys = [key for key in (values if names is None else names) if not key.startswith(_OURS)]
        for key in keys:
            values[key] = self.value(values[key], f"{where} {key}")
        for key in keys:
            partner = next((p for p in _partners(key) if p in values), None)
            if partner is None:
                continue
            for place in self.places:
                if place.is_host(values[key]) and values[partner].strip() == str(place.port):
                    self._note(f"{where} {key}, {partner}", place, values[key].strip())
                    values[key], values[partner] = place.proxy_host, place.proxy_port
                    break

    def ini(self, text: str, where: str) -> str:
        """An .ini file's text with its settings rewritten; everything else as it is."""
        lines = text.split("\n")
        section, begins = "", 0
        for number in range(len(lines) + 1):
            header = _SECTION.match(lines[number]) if number < len(lines) else None
            if number == len(lines) or header:
                self._section(lines, begins, number, f"{where} [{section}]")
            if header:
                section, begins = header[1], number + 1
        return "\n".join(lines)

    def _section(self, lines: list[str], begin: int, end: int, where: str) -> None:
        parts: dict[str, tuple[int, re.Match[str]]] = {}
        for number in range(begin, end):
            line = lines[number]
            setting = _SETTING.match(line)
            if setting:
                parts[setting[1].strip()] = number, setting
            elif line[:1].isspace() and not line.lstrip().startswith(("#", ";")):
                lines[number] = self.value(line, where)
        values = {key: setting[3] for key, (_, setting) in parts.items()}
        self.settings(values, where)
        for key, (number, setting) in parts.items():
            lines[number] = f"{setting[1]}{setting[2]}{values[key]}{setting[4]}"

    def _addresses(self, text: str, place: Place, where: str) -> str:
        for host in place.hosts:
            shown = re.escape(show_address(host, place.port))
            pattern = re.compile(rf"(?<![\w.\-\[]){shown}(?!\d)", re.IGNORECASE)
            text = self._replace(pattern, place, text, where, place.proxy)
        return text

    def _without_port(self, text: str, place: Place, where: str) -> str:
        schemes = [scheme for scheme, port in USUAL_PORTS.items() if port == place.port]
        for host in place.hosts if schemes else ():
            pattern = re.compile(
                rf"(?<![\w.])(?P<keep>(?:{'|'.join(schemes)})(?:\+\w+)?://(?:[^/@\s]*@)?)"
                rf"{re.escape(f'[{host}]' if ':' in host else host)}(?=[/?#\s]|$)",
                re.IGNORECASE,
            )
            text = self._replace(pattern, place, text, where, place.proxy)
        return text

    def _in_words(self, text: str, place: Place, where: str) -> str:
        """libpq's way: ``host=localhost port=5432``."""
        host = re.search(r"(?<![\w.])host\s*=\s*'?([\w.:\-]+)'?", text)
        port = re.search(r"(?<![\w.])port\s*=\s*'?(\d+)'?", text)
        if not host or not port or not place.is_host(host[1]) or port[1] != str(place.port):
            return text
        self._note(where, place, host[1])
        spans = sorted(
            [(host.span(1), place.proxy_host), (port.span(1), place.proxy_port)], reverse=True
        )
        for (start, end), new in spans:
            text = text[:start] + new + text[end:]
        return text

    def _replace(
        self, pattern: re.Pattern[str], place: Place, text: str, where: str, new: str
    ) -> str:
        def replacement(match: re.Match[str]) -> str:
            keep = match.groupdict().get("keep") or ""
            self._note(where, place, match[0].removeprefix(keep))
            return keep + new

        return pattern.sub(replacement, text)

    def _note(self, where: str, place: Place, was: str) -> None:
        shared = [
            other.backend for other in self.places
            if other.port == place.port and set(other.hosts) & set(place.hosts)
        ]  # fmt: skip
        if len(shared) > 1:
            raise ConfigurationError(
                f"{where}: {was} is the address of the backends {' and '.join(shared)}: "
                "say which one by a placeholder"
            )
        self.done.append(Rewritten(where, place.backend, was, place.proxy))


class Copies:
    """Private copies, in ``folder``, of the .ini files that a command names.

    ``%(here)s`` keeps its meaning, and files that they include by ``config:`` are
    rewritten, too. A file in which nothing is to be replaced is not copied.
    """

    def __init__(self, folder: Path, rewriter: Rewriter) -> None:
        self._folder = folder
        self._rewriter = rewriter
        self._made: dict[Path, Path | None] = {}

    def word(self, word: str, cwd: Path) -> str:
        """One word of a command, with the proxies' addresses, or the copy of a file with them."""
        word = self._rewriter.value(word, "command line")
        match = _INI_WORD.match(word)
        if match is None or not (cwd / match[2]).is_file():
            return word
        copy = self._copy((cwd / match[2]).resolve())
        return word if copy is None else f"{match[1] or ''}{copy}{match[3] or ''}"

    def _copy(self, file: Path) -> Path | None:
        if file in self._made:
            return self._made[file]
        self._made[file] = None  # two files that include each other end here
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return None  # the app will say what is wrong with it
        new = self._rewriter.ini(text, file.name)
        here = str(file.parent).replace("%", "%%")

        def include(match: re.Match[str]) -> str:
            other = (file.parent / match[1].replace("%(here)s", str(file.parent))).resolve()
            return f"config:{self._copy(other) or other}"

        included = _INCLUDE.sub(include, new)
        if new == text and not any(self._made[other] for other in self._made if other != file):
            return None
        copy = self._folder / f"{len(self._made)}-{file.name}"
        copy.touch(mode=0o600)
        copy.write_text(included.replace("%(here)s", here), encoding="utf-8")
        self._made[file] = copy
        return copy


def _partners(key: str) -> list[str]:
    """The names that a port's setting may have beside the host's setting ``key``."""
    found = []
    for match in _HOST_WORD.finditer(key):
        word = "PORT" if match[0].isupper() else "Port" if match[0][0].isupper() else "port"
        found.append(f"{key[: match.start()]}{word}{key[match.end() :]}")
    return found
