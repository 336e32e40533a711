"""LDAP: python-ldap and ldap3 against a slapd of their own."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ldap
import ldap3
import trustme

from tests.ports import free_port
from tests.processes import heed_interrupts, process, wait_for
from tests.protocols.record import Sessions

SESSIONS = Sessions()
BASE = "dc=example,dc=org"
ADMIN, PASSWORD = f"cn=admin,{BASE}", "secret"
TRACE = "0af7651916cd43dd8448eb211c80319c"

CONFIGURATION = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
TLSCertificateFile {folder}/server.pem
TLSCertificateKeyFile {folder}/server.key
sizelimit 50
database mdb
maxsize 67108864
suffix "{base}"
rootdn "{admin}"
rootpw {password}
directory {folder}/db
"""
PEOPLE = 60
"""More than ``sizelimit`` lets through."""


def _seed() -> str:
    people = "".join(
        f"dn: uid=user{n},ou=people,{BASE}\nobjectClass: inetOrgPerson\nuid: user{n}\n"
        f"cn: User {n}\nsn: {n}\nmail: user{n}@example.org\nuserPassword: password{n}\n\n"
        for n in range(PEOPLE)
    )
    return (
        f"dn: {BASE}\nobjectClass: dcObject\nobjectClass: organization\no: Example\ndc: example\n\n"
        f"dn: ou=people,{BASE}\nobjectClass: organizationalUnit\nou: people\n\n"
        f"dn: ou=away,{BASE}\nobjectClass: referral\nobjectClass: extensibleObject\n"
        f"ou: away\nref: ldap://127.0.0.1:1/ou=away,{BASE}\n\n"
        f"{people}"
    )


@contextmanager
def server(tls: tuple[str, str] | None = None) -> Iterator[int]:
    """The folder is private, the port is free.

    ``tls``: the files of its certificate and key; without them its certificate is trusted
    by nobody.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "db").mkdir()
        text = CONFIGURATION.format(folder=folder, base=BASE, admin=ADMIN, password=PASSWORD)
        (folder / "slapd.conf").write_text(text)
        (folder / "seed.ldif").write_text(_seed())
        if tls is None:
            certificate = trustme.CA().issue_cert("localhost", "127.0.0.1")
            certificate.private_key_pem.write_to_path(str(folder / "server.key"))
            certificate.cert_chain_pems[0].write_to_path(str(folder / "server.pem"))
        else:
            for source, name in zip(tls, ("server.pem", "server.key"), strict=True):
                shutil.copyfile(source, folder / name)
        configuration = ["-f", str(folder / "slapd.conf")]
        subprocess.run(
            ["/usr/sbin/slapadd", *configuration, "-l", str(folder / "seed.ldif")],
            check=True, timeout=60, capture_output=True,
        )  # fmt: skip
        port = free_port()
        listen = ["-h", f"ldap://127.0.0.1:{port}/", "-d", "0"]
        with process(
            "/usr/sbin/slapd", *configuration, *listen,
            stop=signal.SIGINT, preexec_fn=heed_interrupts, stderr=subprocess.DEVNULL,
        ) as child:  # fmt: skip
            wait_for(port, child)
            yield port


def _connect(port: int) -> ldap.ldapobject.LDAPObject:
    connection = ldap.initialize(f"ldap://127.0.0.1:{port}")
    connection.set_option(ldap.OPT_REFERRALS, 0)
    connection.set_option(ldap.OPT_NETWORK_TIMEOUT, 10)
    connection.set_option(ldap.OPT_TIMEOUT, 10)
    return connection


@SESSIONS.add(
    "python-ldap",
    "bind search search search add modify compare search modify_dn delete delete extended bind"
    " search search search abandon extended unbind",
)
def _(port: int) -> None:
    connection = _connect(port)
    connection.simple_bind_s(ADMIN, PASSWORD)
    dn = f"uid=new,ou=people,{BASE}"
    assert len(connection.search_s(f"ou=people,{BASE}", ldap.SCOPE_ONELEVEL)) == PEOPLE
    assert connection.search_s(BASE, ldap.SCOPE_SUBTREE, "(uid=user7)", ["mail"])
    assert connection.search_s(BASE, ldap.SCOPE_BASE)
    person = [("objectClass", b"inetOrgPerson"), ("uid", b"new"), ("cn", b"New"), ("sn", b"N")]
    connection.add_s(dn, [*person, ("jpegPhoto", b"\xff\xd8" * 40000)])
    connection.modify_s(dn, [(ldap.MOD_REPLACE, "sn", b"Newer")])
    assert connection.compare_s(dn, "sn", b"Newer")
    assert connection.search_s(dn, ldap.SCOPE_BASE)
    connection.rename_s(dn, "uid=newer")
    connection.delete_s(f"uid=newer,ou=people,{BASE}")
    try:
        connection.delete_s(dn)
    except ldap.NO_SUCH_OBJECT:
        pass
    assert connection.whoami_s() == f"dn:{ADMIN}"
    try:
        connection.simple_bind_s(f"uid=user1,ou=people,{BASE}", "wrong")
    except ldap.INVALID_CREDENTIALS:
        pass
    asked = [connection.search(BASE, ldap.SCOPE_SUBTREE, "(uid=user1*)") for _ in range(2)]
    for one in reversed(asked):
        assert connection.result(one)[1]
    connection.abandon(connection.search(BASE, ldap.SCOPE_SUBTREE, "(objectClass=dcObject)"))
    connection.whoami_s()  # what was abandoned may be answered still, and not after the end
    connection.unbind_s()


@SESSIONS.add("ldap3", "bind search search add modify compare modify_dn delete extended unbind")
def _(port: int) -> None:
    server = ldap3.Server("127.0.0.1", port, get_info=ldap3.NONE)
    connection = ldap3.Connection(server, ADMIN, PASSWORD, receive_timeout=10)
    assert connection.bind()
    tracked = (SESSION_TRACKING, False, session_tracking(TRACE))
    assert connection.search(f"ou=people,{BASE}", "(uid=user1)", controls=[tracked])
    connection.search(BASE, "(uid=none)")
    assert not connection.entries
    dn = f"uid=three,ou=people,{BASE}"
    assert connection.add(dn, "inetOrgPerson", {"cn": "Three", "sn": "3"})
    assert connection.modify(dn, {"sn": [(ldap3.MODIFY_REPLACE, ["4"])]})
    assert connection.compare(dn, "sn", "4")
    assert connection.modify_dn(dn, "uid=four")
    assert connection.delete(f"uid=four,ou=people,{BASE}")
    assert connection.extend.standard.who_am_i() == f"dn:{ADMIN}"
    assert connection.unbind()


SESSION_TRACKING = "1.3.6.1.4.1.21008.108.63.1"


def session_tracking(identifier: str) -> bytes:
    """The control's value: an address, a name, a format and ``identifier``."""
    parts = [b"127.0.0.1", b"app", b"1.3.6.1.4.1.21008.108.63.1.3", identifier.encode()]
    inner = b"".join(bytes([4, len(part)]) + part for part in parts)
    return bytes([0x30, len(inner)]) + inner


@SESSIONS.add("start-tls", "extended", "TLS")
def _(port: int) -> None:
    connection = _connect(port)
    connection.set_option(ldap.OPT_X_TLS_REQUIRE_CERT, ldap.OPT_X_TLS_NEVER)
    connection.set_option(ldap.OPT_X_TLS_NEWCTX, 0)
    connection.start_tls_s()
    connection.simple_bind_s(ADMIN, PASSWORD)
    connection.unbind_s()


@SESSIONS.add("anonymous", "search search unbind")
def _(port: int) -> None:
    """The server's own errors."""
    connection = _connect(port)
    try:
        connection.search_s(f"ou=people,{BASE}", ldap.SCOPE_SUBTREE)
    except ldap.SIZELIMIT_EXCEEDED:
        pass
    try:
        connection.search_s(f"ou=away,{BASE}", ldap.SCOPE_BASE)
    except ldap.REFERRAL:
        pass
    connection.unbind_s()


@SESSIONS.add("sasl", "bind unbind")
def _(port: int) -> None:
    """This slapd knows no mechanism that is spoken over plain TCP."""
    server = ldap3.Server("127.0.0.1", port, get_info=ldap3.NONE)
    connection = ldap3.Connection(
        server,
        authentication=ldap3.SASL,
        sasl_mechanism=ldap3.PLAIN,
        sasl_credentials=(None, "user1", "password1"),
        receive_timeout=10,
    )
    assert not connection.bind()
    connection.unbind()
