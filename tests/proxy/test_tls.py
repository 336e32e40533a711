"""TLS on either side: who is believed, what a failed handshake does, what toxics see."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from seism.errors import ConfigurationError
from seism.model import ClientTls, ProxySpec, ServerTls, ToxicSpec
from seism.proxy.tls import Tls as Contexts
from tests.proxy.ends import End, Listening, PlainEnd, Tls, TlsEnd, connect, listen, pair, raw, spec
from tests.proxy.harness import Proxies, eventually


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    return Tls(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def proxies() -> Iterator[Proxies]:
    with Proxies() as found:
        yield found


@pytest.fixture(params=["tcp4", "tls"])
def server(request: pytest.FixtureRequest, tmp_path: Path, tls: Tls) -> Iterator[Listening]:
    made = listen(request.param, tmp_path, tls)
    yield made
    made.sock.close()


def read(end: End, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = end.recv(size - len(data))
        assert more
        data += more
    return data


def test_toxics_see_plaintext_and_offsets_count_it(
    proxies: Proxies, server: Listening, tmp_path: Path, tls: Tls
) -> None:
    proxy = proxies.create(spec("a", "tls", server, tmp_path, tls))
    with pair("tls", proxy.listen, server, tls) as (client, there):
        client.sendall(b"12345")
        assert read(there, 5) == b"12345"
        proxies.toxic("a", "latency", stream="upstream", latency=1)
        client.sendall(b"67")
        assert read(there, 2) == b"67"
        there.sendall(b"reply")
        assert read(client, 5) == b"reply"
    (began,) = proxies.began
    assert (began.offset, began.listen) == (5, proxy.listen)
    assert proxies.ended(1)[0].offset == 7
    eventually(lambda: proxy.connections == 0)


def test_faults_act_on_what_is_inside(
    proxies: Proxies, server: Listening, tmp_path: Path, tls: Tls
) -> None:
    made = replace(spec("a", "tls", server, tmp_path, tls), protocol="redis")
    proxy = proxies.create(made, [ToxicSpec("redis_busy", exchange={"kind": "GET"})])
    with pair("tls", proxy.listen, server, tls) as (client, there):
        client.sendall(b"PING\r\nGET k\r\nPING\r\n")
        assert read(there, 12) == b"PING\r\n" * 2
        there.sendall(b"+PONG\r\n" * 2)
        busy = "Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."
        told = b"+PONG\r\n-BUSY " + busy.encode() + b"\r\n+PONG\r\n"
        assert read(client, len(told)) == told
    (began,), (ended,) = proxies.began, proxies.ended(1)
    assert (began.offset, ended.offset) == (6, 13)
    eventually(lambda: proxy.connections == 0)


def test_a_plain_client_of_a_tls_backend(proxies: Proxies, tmp_path: Path, tls: Tls) -> None:
    server = listen("tls", tmp_path, tls)
    proxy = proxies.create(spec("a", "tcp4", server, tmp_path, tls))
    with server.sock, pair("tcp4", proxy.listen, server, tls) as (client, there):
        client.sendall(b"hello")
        assert read(there, 5) == b"hello"
    assert proxy.tls_failures == {}


@pytest.mark.parametrize(
    ("believed", "reason"),
    [
        (
            lambda tls, other: replace(tls.believed, name="another.test"),
            "CERTIFICATE_VERIFY_FAILED",
        ),
        (lambda tls, other: other.believed, "CERTIFICATE_VERIFY_FAILED"),
        (lambda tls, other: ClientTls(name="backend.test"), "CERTIFICATE_VERIFY_FAILED"),
        (lambda tls, other: ClientTls(name="another.test", verify=False), None),
        (lambda tls, other: ClientTls(verify=False), None),
    ],
)
def test_a_backend_is_verified_unless_that_is_turned_off(
    proxies: Proxies, tmp_path: Path, tls: Tls, caplog: pytest.LogCaptureFixture,
    believed: object, reason: str | None,
) -> None:  # fmt: skip
    other_folder = tmp_path / "other"
    other_folder.mkdir()
    server = listen("tls", tmp_path, tls)
    wanted = ProxySpec("a", server.address, upstream_tls=believed(tls, Tls(other_folder)))  # type: ignore[operator]
    proxy = proxies.create(wanted)
    with server.sock:
        if reason is None:
            with pair("tcp4", proxy.listen, server, tls) as (client, there):
                client.sendall(b"hello")
                assert read(there, 5) == b"hello"
            return
        for _ in range(2):
            client = connect("tcp4", proxy.listen, tls)
            with pytest.raises(ssl.SSLError):
                server.accept()
            with pytest.raises(ConnectionResetError):
                client.recv(1)
            client.close()
    assert proxy.tls_failures == {f"backend: {reason}": 2}
    logged = [record for record in caplog.records if "handshake" in record.message]
    assert len(logged) == 1
    assert proxies.records == []


def test_a_client_that_does_not_believe_the_proxy(
    proxies: Proxies, tmp_path: Path, tls: Tls, server: Listening
) -> None:
    proxy = proxies.create(spec("a", "tls", server, tmp_path, tls))
    sock = raw(proxy.listen)
    with sock, pytest.raises(ssl.SSLCertVerificationError):
        TlsEnd(sock, ssl.create_default_context(), server=False)
    eventually(lambda: proxy.connections == 0)
    assert [kind.startswith("client: ") for kind in proxy.tls_failures] == [True]


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\n\r\n", b"\0" * 5000, b""])
def test_a_client_that_does_not_speak_tls(
    proxies: Proxies, tmp_path: Path, tls: Tls, server: Listening, said: bytes
) -> None:
    proxy = proxies.create(spec("a", "tls", server, tmp_path, tls))
    with raw(proxy.listen) as sock:
        sock.sendall(said)
        sock.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            while sock.recv(1000):
                pass
    eventually(lambda: proxy.connections == 0)
    assert sum(proxy.tls_failures.values()) == 1


def test_a_backend_that_does_not_speak_tls(proxies: Proxies, tmp_path: Path, tls: Tls) -> None:
    server = listen("tcp4", tmp_path, tls)
    proxy = proxies.create(ProxySpec("a", server.address, upstream_tls=tls.believed))
    with server.sock, raw(proxy.listen) as client:
        there = server.accept()
        there.sendall(b"220 mail.test ready\r\n")
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        there.close()
    assert proxy.tls_failures == {"backend: WRONG_VERSION_NUMBER": 1}


@pytest.mark.parametrize("said", [b"", b"hello"])
def test_a_client_that_resets_during_the_backends_handshake(
    proxies: Proxies, tmp_path: Path, tls: Tls, said: bytes
) -> None:
    silent = listen("tcp4", tmp_path, tls)
    proxy = proxies.create(ProxySpec("a", silent.address, upstream_tls=tls.believed))
    with silent.sock, raw(proxy.listen) as client:
        there = silent.accept()
        assert there.recv(1)  # the handshake has begun
        client.sendall(said)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        eventually(lambda: proxy.connections == 0)
        there.close()


def test_going_down_in_the_middle_of_a_handshake(
    proxies: Proxies, tmp_path: Path, tls: Tls, server: Listening
) -> None:
    proxy = proxies.create(spec("a", "tls", server, tmp_path, tls))
    with raw(proxy.listen) as client:
        eventually(lambda: proxy.connections == 1)
        proxies.update("a", enabled=False)
        assert client.recv(1) == b""
    assert proxy.connections == 0
    assert proxy.tls_failures == {}


@pytest.mark.parametrize("who", ["client", "server"])
def test_a_stream_that_was_cut_short_looks_so_on_the_other_side(
    proxies: Proxies, tmp_path: Path, tls: Tls, who: str
) -> None:
    server = listen("tls", tmp_path, tls)
    proxy = proxies.create(spec("a", "tls", server, tmp_path, tls))
    with server.sock, pair("tls", proxy.listen, server, tls) as ends:
        first, second = ends if who == "client" else reversed(ends)
        assert isinstance(first, TlsEnd)
        first.sendall(b"half of it")
        first.cut()
        assert read(second, 10) == b"half of it"
        with pytest.raises(ssl.SSLEOFError):
            second.recv(1)


def test_what_comes_with_the_end_of_the_handshake_is_not_left_behind(
    proxies: Proxies, tmp_path: Path, tls: Tls
) -> None:
    server = listen("tcp4", tmp_path, tls)
    proxy = proxies.create(spec("a", "tls", server, tmp_path, tls))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = tls.client.wrap_bio(incoming, outgoing, server_hostname="backend.test")
    with server.sock, raw(proxy.listen) as client:
        with contextlib.suppress(ssl.SSLWantReadError):
            session.do_handshake()
        client.sendall(outgoing.read())
        while True:
            incoming.write(client.recv(65536))
            try:
                session.do_handshake()
                break
            except ssl.SSLWantReadError:
                pass
        session.write(b"all of it")
        with contextlib.suppress(ssl.SSLWantReadError):
            session.unwrap()
        client.sendall(outgoing.read())  # Finished, the request and its end, in one segment
        there = server.accept()
        assert read(there, 9) == b"all of it"
        assert there.recv(1) == b""
        there.close()


def test_back_pressure_goes_through_and_nothing_is_lost_at_the_end(
    proxies: Proxies, tmp_path: Path, tls: Tls, server: Listening
) -> None:
    proxy = proxies.create(spec("a", "tls", server, tmp_path, tls))
    with pair("tls", proxy.listen, server, tls) as (client, there):
        assert isinstance(there, TlsEnd | PlainEnd)
        data = bytes(range(256)) * 4096
        there.sock.settimeout(0.5)
        count = 0
        with pytest.raises(TimeoutError):
            while count < 64:
                there.sendall(data)
                count += 1
        assert count < 32
        # Whatever was taken arrives, the broken last piece up to where it was broken.
        there.reset() if server.kind == "tls" else there.close()
        got = bytearray()
        with contextlib.suppress(ConnectionResetError):
            while more := client.recv(65536):
                got += more
        whole = data * (count + 1)
        assert len(got) > 0 and whole.startswith(bytes(got))
        if server.kind != "tls":
            assert len(got) >= count * len(data)


def test_the_last_bytes_reach_a_client_that_reads_late(
    proxies: Proxies, tmp_path: Path, tls: Tls, server: Listening
) -> None:
    proxy = proxies.create(spec("a", "tls", server, tmp_path, tls))
    with pair("tls", proxy.listen, server, tls) as (client, there):
        data = bytes(range(256)) * 65536
        client.finish()

        def answer() -> None:
            assert there.recv(1) == b""
            there.sendall(data)
            there.close()

        sending = threading.Thread(target=answer)
        sending.start()
        got = bytearray()
        while more := client.recv(65536):
            got += more
        sending.join()
        assert got == data
    eventually(lambda: proxy.connections == 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tls": ServerTls("/nowhere.pem")}, "tls: /nowhere.pem: no such file"),
        (
            {"upstream_tls": ClientTls("/nowhere.pem")},
            "upstream_tls.ca: /nowhere.pem: no such file",
        ),
        ({"tls": ServerTls("{key}")}, "tls: "),
        ({"upstream_tls": ClientTls("{key}")}, "upstream_tls.ca: "),
        ({"upstream_tls": ClientTls("{ca}", "a..b")}, "upstream_tls.name: 'a..b'"),
        ({"upstream": "unix:/s", "upstream_tls": ClientTls("{ca}")}, "upstream_tls.name: it is"),
    ],
)
def test_what_cannot_work_is_said_when_it_is_asked_for(
    proxies: Proxies, tls: Tls, change: dict[str, object], message: str
) -> None:
    for key, options in list(change.items()):
        if isinstance(options, ServerTls):
            change = {**change, key: ServerTls(options.certificate.format(key=tls.key))}
        elif isinstance(options, ClientTls):
            file = options.ca.format(key=tls.key, ca=tls.ca)
            change = {**change, key: ClientTls(file, options.name)}
    with pytest.raises(ConfigurationError) as raised:
        proxies.create(replace(ProxySpec("a", "127.0.0.1:1"), **change))  # type: ignore[arg-type]
    assert f"proxy a: {message}" in str(raised.value)


def test_tls_can_be_added_and_other_changes_leave_it(
    proxies: Proxies, tmp_path: Path, tls: Tls, server: Listening
) -> None:
    proxy = proxies.create(replace(spec("a", "tls", server, tmp_path, tls), tls=None))
    listen = proxy.listen
    proxies.update("a", tls=tls.shown)
    proxies.update("a", enabled=False)
    proxies.update("a", enabled=True, upstream=server.address)
    assert proxy.listen == listen
    with pair("tls", proxy.listen, server, tls) as (client, there):
        client.sendall(b"hello")
        assert read(there, 5) == b"hello"


@pytest.mark.parametrize(
    "what", ["a pipe", "/dev/zero", "/dev/urandom", "a folder", "a\0b", "large"]
)
@pytest.mark.parametrize("key", ["certificate", "key", "ca"])
def test_what_could_be_read_for_ever_is_never_opened(tmp_path: Path, what: str, key: str) -> None:
    path = tmp_path / "file"
    if what == "a pipe":
        os.mkfifo(path)
    elif what == "a folder":
        path.mkdir()
    elif what == "large":
        with path.open("wb") as file:
            file.truncate(1 << 33)
    given = what if what[0] == "/" or "\0" in what else str(path)
    tls = None if key == "ca" else ServerTls(**{"certificate": given, key: given})
    upstream_tls = ClientTls(ca=given) if key == "ca" else None
    asked = ProxySpec("p", "127.0.0.1:1", tls=tls, upstream_tls=upstream_tls)
    with pytest.raises(ConfigurationError, match=r"tls(\.ca)?: .*: (expected a regular|embedded)"):
        Contexts.of(asked, "proxy p")
