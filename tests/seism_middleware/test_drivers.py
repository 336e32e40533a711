"""Drivers in C: patched once they are there, undone without a trace; the matrix has the rest."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from seism_middleware import handle
from seism_middleware.blocked import blocked_on, readable
from seism_middleware.contract import (
    DOWNSTREAM,
    DRIVER,
    UPSTREAM,
    Attribution,
    PerturbationBegan,
    Proxied,
)
from seism_middleware.correlate import Correlator
from seism_middleware.drivers import OWN, registered
from seism_middleware.drivers.span import ENDLESS, Spans, Track
from seism_middleware.handle import Handle
from seism_middleware.ledger import Ledger
from seism_middleware.tcp import address_text, received
from seism_middleware.traffic import Request, current
from tests.debian import unable
from tests.processes import ROOT
from tests.seism_middleware.peer import eventually

PATCHED = {
    "psycopg2": ["psycopg2._connect"],
    "psycopg": ["psycopg.Connection.wait", "psycopg.AsyncConnection.wait"],
    "MySQLdb.connections": ["MySQLdb.connections.Connection.query"],
    "mysql.connector.connection_cext": [
        "mysql.connector.connection_cext.CMySQLConnection.cmd_query"
    ],
    "pylibmc.client": ["pylibmc.client.Client.get"],
    "ldap.ldapobject": ["ldap.ldapobject.SimpleLDAPObject._ldap_call"],
    "pycurl": ["pycurl.Curl"],
    "bonsai.ldapconnection": ["bonsai.ldapconnection.BaseLDAPConnection.open"],
    "uvloop": ["uvloop.Loop.create_connection", "uvloop.Loop.sock_connect"],
}
"""Module -> some of what must be patched once it has been imported."""


def test_every_driver_is_looked_at_here() -> None:
    assert PATCHED.keys() == OWN.keys() == registered().keys()


@pytest.mark.parametrize("module", PATCHED)
def test_patched_after_its_import_and_put_back(module: str) -> None:
    """In a process of its own, in which nothing else has imported the driver."""
    if importlib.util.find_spec(module.partition(".")[0]) is None:
        unable(f"{module} is missing: pip install '.[matrix]'")
    script = f"""
        import sys
        from seism_middleware.ledger import Ledger
        from seism_middleware.patches import Patches

        patches = Patches(Ledger())
        patches.install()
        before = set(patches.names)
        assert {module!r} not in sys.modules, "imported by us"
        import {module}
        assert patches.follow() and not patches.follow()
        found = set(patches.names) - before
        assert found >= set({PATCHED[module]!r}), found

        def look(name):
            owner, _, attribute = name.rpartition(".")
            parts, top = owner.split("."), None
            for count in range(len(parts), 0, -1):
                top = sys.modules.get(".".join(parts[:count]))
                if top is not None:
                    break
            for part in parts[count:]:
                top = getattr(top, part)
            return top.__dict__.get(attribute)

        put = {{name: look(name) for name in found if look(name) is not None}}
        assert put
        patches.uninstall()
        assert patches.names == ()
        assert not [name for name, value in put.items() if look(name) is value]
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


class Driver:
    """What a driver's object does to its socket, called as a wrapped method would be."""

    def __init__(self, spans: Spans, port: int, tells: bool) -> None:
        self.spans, self.tells = spans, tells
        self.track = Track()
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.handle = Handle(self.sock.fileno())

    def call(self, request: Request | None, function: Callable[[], Any], **options: Any) -> Any:
        token = current.set(request)
        try:
            if self.tells:
                return self.spans.call(self.track, self.sock.fileno, function)
            return self.spans.call_blind(self.track, function, **options)
        finally:
            current.reset(token)

    def opens(self, request: Request) -> None:
        """The connection was made in a call, as the driver tells only after it."""
        token = current.set(request)
        span = self.spans.enter(self.track, None)
        assert span is not None
        self.spans.leave(span, self.sock.fileno())
        current.reset(token)

    def send(self, request: Request | None, size: int = 10) -> None:
        self.call(request, lambda: self.sock.sendall(b"x" * size))


class Scene:
    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.ledger = Ledger()
        self.ledger.watch(0, [Proxied("db", "127.0.0.1", self.port)])
        self.spans = Spans(self.ledger)
        self.emitted: list[Attribution] = []
        self.correlator = Correlator(self.ledger, self.emitted.append)
        self.drivers: list[Driver] = []

    def driver(self, tells: bool = True) -> Driver:
        self.drivers.append(Driver(self.spans, self.port, tells))
        return self.drivers[-1]

    def begin(self, name: str) -> Request:
        return Request(name, "GET", time.monotonic())

    def hit(self, driver: Driver, offset: int) -> set[tuple[str | None, bool]]:
        began = PerturbationBegan(
            f"p{time.monotonic()}", "db", "t", "latency", time.monotonic(), UPSTREAM,
            address_text(driver.sock.getsockname()), f"127.0.0.1:{self.port}", offset=offset,
        )  # fmt: skip
        attributions = self.correlator.resolve(began)
        assert {attribution.evidence for attribution in attributions} <= {DRIVER, "overlap"}
        return {(attribution.request, attribution.exact) for attribution in attributions}


@pytest.fixture
def scene() -> Any:
    scene = Scene()
    yield scene
    for driver in scene.drivers:
        driver.sock.close()
    scene.listener.close()


@pytest.mark.parametrize("cookies", [True, False])
def test_a_handle_knows_its_socket_from_the_next(
    cookies: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not cookies:
        monkeypatch.setattr(handle, "_SO_COOKIE", -1)  # of another kernel
    with socket.socket() as first, socket.socket() as second:
        number = first.fileno()
        first.bind(("127.0.0.1", 0))
        address = first.getsockname()
        known = Handle(number)
        assert known.fileno() == number
        second.bind(("127.0.0.1", 0))
        os.dup2(second.fileno(), number)
        assert known.fileno() == -1
        second.close()
        with socket.socket() as third:
            third.bind(address)  # free again
            os.dup2(third.fileno(), number)
            assert known.fileno() == (-1 if cookies else number)


def test_the_kernels_count_says_who_wrote_what(scene: Scene) -> None:
    driver = scene.driver()
    for name in ("a", "b", "a"):
        driver.send(scene.begin(name))
    assert [scene.hit(driver, at) for at in (0, 9, 10, 19, 20)] == [
        {("a", True)}, {("a", True)}, {("b", True)}, {("b", True)}, {("a", True)},
    ]  # fmt: skip


def test_a_call_that_lasts_owns_what_it_writes(scene: Scene) -> None:
    driver, request = scene.driver(), scene.begin("a")
    driver.send(scene.begin("first"))

    def during() -> None:
        driver.sock.sendall(b"x" * 10)
        connection = driver.track.connection
        assert connection is not None and connection.claims[-1].length == ENDLESS
        assert scene.hit(driver, 10) == {("a", True)}
        driver.send(request)  # a part of the same call

    driver.call(request, during)
    assert driver.track.connection is not None
    assert [c.length for c in driver.track.connection.claims] == [10, 20]
    assert request.sends[driver.track.connection] == [1, 20]


def test_what_was_written_between_calls_is_nobodys_for_certain(scene: Scene) -> None:
    driver = scene.driver()
    driver.send(scene.begin("a"))
    driver.sock.sendall(b"past every call")
    driver.send(scene.begin("b"))
    assert scene.hit(driver, 9) == {("a", True)}
    assert scene.hit(driver, 12) == set()
    assert scene.hit(driver, 25) == {("b", True)}


def test_an_object_shared_by_threads_is_possible_only(scene: Scene) -> None:
    driver, one, two = scene.driver(), scene.begin("a"), scene.begin("b")

    def first() -> None:
        driver.send(two)
        driver.sock.sendall(b"x" * 10)

    driver.call(one, first)
    assert scene.hit(driver, 5) == {("a", False), ("b", False)}


def test_a_call_that_writes_nothing_leaves_nothing(scene: Scene) -> None:
    driver, request = scene.driver(), scene.begin("a")
    driver.send(scene.begin("first"))
    driver.call(request, lambda: None)
    assert driver.track.connection is not None
    assert len(driver.track.connection.claims) == 1
    assert not request.sends


def test_a_socket_that_leads_elsewhere(scene: Scene) -> None:
    scene.ledger.watch(0, [])
    driver = scene.driver()
    driver.send(scene.begin("a"))
    assert driver.track.connection is None
    scene.ledger.watch(0, [Proxied("db", "127.0.0.1", scene.port)])
    driver.send(scene.begin("b"))
    assert scene.hit(driver, 5) == set()
    assert scene.hit(driver, 15) == {("b", True)}


def test_a_driver_that_does_not_tell_is_found_by_exclusion(scene: Scene) -> None:
    """Two that call at the same time are told apart by what they do alone."""
    one, other = scene.driver(tells=False), scene.driver(tells=False)
    a, b = scene.begin("a"), scene.begin("b")

    def both() -> None:
        one.sock.sendall(b"x" * 10)
        other.sock.sendall(b"x" * 10)  # in a call that has not returned yet

    one.call(a, both, fresh=True)
    assert one.track.connection is None  # either socket has moved
    assert scene.hit(one, 5) == set()
    one.send(a)
    assert scene.hit(one, 5) == scene.hit(one, 15) == {("a", True)}
    other.send(b)
    assert scene.hit(other, 15) == {("b", True)}


def test_a_silent_call_excludes_nothing(scene: Scene) -> None:
    one, other = scene.driver(tells=False), scene.driver(tells=False)
    one.call(scene.begin("a"), lambda: other.sock.sendall(b"x"), silent=True)
    assert one.track.connection is None
    one.send(scene.begin("a"))
    assert scene.hit(one, 5) == {("a", True)}


def test_a_socket_that_is_new_is_never_excluded(scene: Scene) -> None:
    """A driver may connect anew within any call, while others are busy on what it had not."""
    one, other = scene.driver(tells=False), scene.driver(tells=False)

    def both() -> None:
        one.sock.sendall(b"x" * 10)
        other.sock.sendall(b"x" * 10)

    one.call(scene.begin("a"), both)

    def anew() -> None:
        one.sock.close()
        one.sock = socket.create_connection(("127.0.0.1", scene.port))
        both()

    one.call(scene.begin("b"), anew)
    assert one.track.connection is None
    one.send(scene.begin("c"))
    assert scene.hit(one, 5) == {("b", True)}
    assert scene.hit(one, 15) == {("c", True)}


@pytest.mark.parametrize("silent", [True, False])
def test_what_was_closed_may_have_been_its_own(scene: Scene, silent: bool) -> None:
    """Lost in a call that tells only whether the connection is alive, or right after one."""
    one, other = scene.driver(tells=False), scene.driver(tells=False)

    def both() -> None:
        one.sock.sendall(b"x" * 10)
        other.sock.sendall(b"x" * 10)

    def lost() -> None:
        both()
        one.sock.close()

    one.call(scene.begin("a"), both, fresh=True)
    one.call(scene.begin("a"), both)
    one.call(scene.begin("a"), lost, silent=silent)
    one.call(scene.begin("a"), lambda: None, silent=True)
    assert one.track.connection is None
    other.send(scene.begin("b"))
    assert scene.hit(other, 35) == {("b", True)}
    assert one.track.connection is None


def test_who_has_just_connected_may_have_lost_it(scene: Scene) -> None:
    """Another's socket is not its own because it is the only one that is left."""
    one, other = scene.driver(tells=False), scene.driver(tells=False)
    one.sock.close()
    one.call(scene.begin("a"), lambda: other.sock.sendall(b"x" * 10), fresh=True)
    one.call(scene.begin("a"), lambda: None, silent=True)
    assert one.track.connection is None
    other.send(scene.begin("b"))
    assert scene.hit(other, 15) == {("b", True)}


@pytest.mark.skipif(not readable(), reason="this process may not look at itself")
def test_a_call_that_is_blocked_shows_its_socket(scene: Scene) -> None:
    """Two that connect at the same time; each is blocked in C, as a driver is."""
    one, other = scene.driver(tells=False), scene.driver(tells=False)
    ends = [scene.listener.accept()[0] for _ in range(2)]
    libc = ctypes.CDLL(None)

    def ask(driver: Driver) -> None:
        driver.sock.sendall(b"x" * 10)
        libc.recv(driver.sock.fileno(), ctypes.create_string_buffer(1), 1, 0)

    def run(name: str, driver: Driver) -> None:
        driver.call(scene.begin(name), lambda: ask(driver), fresh=True)

    running = [threading.Thread(target=run, args=each) for each in (("a", one), ("b", other))]
    for thread in running:
        thread.start()
    try:
        for driver in (one, other):
            eventually(lambda: blocked_on(driver.sock.fileno()), "blocked")  # noqa: B023
        assert one.track.connection is None and other.track.connection is None
        scene.spans.look()
        assert scene.hit(one, 5) == {("a", True)}
        assert scene.hit(other, 5) == {("b", True)}
    finally:
        for end in ends:
            end.sendall(b"x")
        for thread in running:
            thread.join()
    one.send(scene.begin("c"))
    assert scene.hit(one, 5) == {("a", True)}
    assert scene.hit(one, 15) == {("c", True)}
    for end in ends:
        end.close()


@pytest.mark.parametrize("made_before", [False, True])
def test_a_connection_seen_in_the_call_that_made_it_and_lost_it(
    scene: Scene, made_before: bool
) -> None:
    """A proxy that goes down ends what it has not accepted yet: to the app, the connect failed."""
    driver = scene.driver(tells=False)
    there = scene.listener.accept()[0]
    if not made_before:
        driver.sock.close()
        there.close()
    request, at_work, over = scene.begin("a"), threading.Event(), threading.Event()

    def fails() -> None:
        nonlocal there
        if not made_before:
            driver.sock = socket.create_connection(("127.0.0.1", scene.port))
            there = scene.listener.accept()[0]
        at_work.set()
        ctypes.CDLL(None).recv(driver.sock.fileno(), ctypes.create_string_buffer(1), 1, 0)
        over.wait(10)
        driver.sock.close()
        raise OSError("connection failure")

    def run() -> None:
        with pytest.raises(OSError, match="failure"):
            driver.call(request, fails)

    thread = threading.Thread(target=run)
    thread.start()
    at_work.wait(10)
    eventually(lambda: blocked_on(driver.sock.fileno()), "blocked")
    scene.spans.look()
    assert driver.track.connection is not None
    assert driver.track.connection.opener is (None if made_before else request)
    there.close()
    over.set()
    thread.join(10)
    assert request.refused == (None if made_before else {"db": 1})


def test_a_call_that_failed_proves_nothing(scene: Scene) -> None:
    one, other = scene.driver(tells=False), scene.driver(tells=False)

    def fails() -> None:
        other.sock.sendall(b"x" * 10)
        raise OSError

    with pytest.raises(OSError):
        one.call(scene.begin("a"), fails)
    assert one.track.connection is None
    one.send(scene.begin("b"))
    assert scene.hit(one, 5) == {("b", True)}


def test_a_socket_that_was_exchanged_is_looked_for_again(scene: Scene) -> None:
    driver = scene.driver(tells=False)
    driver.send(scene.begin("a"))
    first = driver.track.connection
    assert first is not None
    driver.sock.close()
    driver.sock = socket.create_connection(("127.0.0.1", scene.port))
    driver.send(scene.begin("b"))
    assert driver.track.connection not in (None, first)
    assert scene.hit(driver, 5) == {("b", True)}


@pytest.mark.parametrize("closes", [True, False])
@pytest.mark.parametrize("soon", [True, False])
@pytest.mark.parametrize("since", [0, 10])
def test_a_cut_is_exact_where_the_driver_gave_up_in_its_call(
    scene: Scene, closes: bool, soon: bool, since: int
) -> None:
    """Part of the answer has come: only the failed call tells that the cut hit its request."""
    driver, request = scene.driver(), scene.begin("r1")
    there = scene.listener.accept()[0]
    driver.send(request)
    there.sendall(b"a part")
    eventually(lambda: received(driver.handle) == 6, "the part has arrived")
    began = PerturbationBegan(
        "p1",
        "db",
        "down",
        "down",
        time.monotonic(),
        DOWNSTREAM,
        address_text(driver.sock.getsockname()),
        f"127.0.0.1:{scene.port}",
        offset=10,
        since=since,
    )
    there.close()
    early = scene.correlator.resolve(began) if soon else []

    def fails() -> None:
        if closes:
            driver.sock.close()
        raise OSError("server closed the connection unexpectedly")

    with pytest.raises(OSError, match="unexpectedly"):
        driver.call(request, fails)
    told = [*early, *scene.emitted, *scene.correlator.resolve(began)]
    assert {(each.request, each.evidence) for each in told} == {("r1", DRIVER)}
    assert [each.exact for each in told] == [False] * (soon or not closes) + [True] * closes


@pytest.mark.parametrize("answered", [False, True])
def test_a_new_connection_that_is_never_answered_is_a_failed_connect(
    scene: Scene, answered: bool
) -> None:
    request = scene.begin("r1")
    driver = scene.driver()
    there = scene.listener.accept()[0]
    driver.opens(request)
    if answered:
        there.sendall(b"hello")
        eventually(lambda: received(driver.handle) == 5, "the greeting has arrived")
        driver.send(request)

    def fails() -> None:
        driver.sock.close()
        raise OSError("server closed the connection unexpectedly")

    with pytest.raises(OSError, match="unexpectedly"):
        driver.call(request, fails)
    assert request.refused == (None if answered else {"db": 1})
    there.close()


def test_the_end_of_a_stream_is_no_byte_of_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with socket.create_connection(listener.getsockname()) as sock:
            there = listener.accept()[0]
            there.sendall(b"xyz")
            there.close()
            sock.setblocking(True)
            assert sock.recv(10) == b"xyz"
            assert sock.recv(10) == b""
            assert received(sock) == 3
