"""Every fault of LDAP between slapd and real clients: what a program sees."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from seism.errors import ConfigurationError
from tests import native
from tests.protocols.behind import LEFT, Behind, behind, outcome
from tests.protocols.outcome import check

if importlib.util.find_spec("ldap") is not None and importlib.util.find_spec("ldap3") is not None:
    import ldap
    import ldap3
    import ldap3.core.exceptions

    from tests.protocols.sessions import ldap as sessions

pytestmark = pytest.mark.debian("slapd", "libldap2-dev", "libsasl2-dev")

Calls = dict[str, Callable[[], object]]
FAULTS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "ldap_busy": (("bind", "search", "modify"), {}),
    "ldap_unavailable": (("bind", "search", "add", "delete"), {}),
    "ldap_unwilling": (("bind", "modify", "modify_dn", "whoami"), {}),
    "ldap_operations_error": (("search", "compare"), {}),
    "ldap_referral": (("search", "modify"), {}),
    "ldap_invalid_credentials": (("bind",), {}),
    "ldap_time_limit": (("search",), {"entries": 2}),
    "ldap_size_limit": (("search",), {"entries": 2}),
    "ldap_disconnect": (("bind", "search"), {}),
    "ldap_partial": (("search",), {"entries": 2}),
}
"""Fault -> the calls that it is tried with, its attributes."""
PATIENCE = 1
"""Seconds."""


@contextmanager
def with_python_ldap(port: int) -> Iterator[Calls]:
    connection = ldap.initialize(f"ldap://127.0.0.1:{port}")
    connection.set_option(ldap.OPT_REFERRALS, 0)
    connection.set_option(ldap.OPT_TIMEOUT, PATIENCE)
    people, one = f"ou=people,{sessions.BASE}", f"uid=user1,ou=people,{sessions.BASE}"

    def bind() -> object:
        return connection.simple_bind_s(sessions.ADMIN, sessions.PASSWORD) and "bound"

    bind()
    yield {
        "bind": bind,
        "search": lambda: len(connection.search_st(people, ldap.SCOPE_ONELEVEL, timeout=PATIENCE)),
        "modify": lambda: connection.modify_s(one, [(ldap.MOD_REPLACE, "sn", b"1")]) and "done",
        "add": lambda: connection.add_s(
            f"ou=added,{sessions.BASE}", [("objectClass", b"organizationalUnit")]
        ),
        "delete": lambda: connection.delete_s(f"uid=user2,{people}"),
        "modify_dn": lambda: connection.rename_s(one, "uid=renamed"),
        "compare": lambda: connection.compare_s(one, "sn", b"1"),
        "whoami": connection.whoami_s,
    }
    with contextlib.suppress(ldap.LDAPError):
        connection.unbind_s()


@contextmanager
def with_ldap3(port: int) -> Iterator[Calls]:
    server = ldap3.Server("127.0.0.1", port, get_info=ldap3.NONE)
    connection = ldap3.Connection(
        server,
        sessions.ADMIN,
        sessions.PASSWORD,
        raise_exceptions=True,
        auto_referrals=False,
        receive_timeout=PATIENCE,
    )
    people, one = f"ou=people,{sessions.BASE}", f"uid=user1,ou=people,{sessions.BASE}"
    changes = {"sn": [(ldap3.MODIFY_REPLACE, ["1"])]}

    def search() -> object:
        connection.search(people, "(objectClass=*)", ldap3.LEVEL)
        return len(connection.response)

    connection.bind()
    yield {
        "bind": lambda: connection.rebind(sessions.ADMIN, sessions.PASSWORD) and "bound",
        "search": search,
        "modify": lambda: connection.modify(one, changes) and "done",
        "add": lambda: connection.add(f"ou=added,{sessions.BASE}", "organizationalUnit"),
        "delete": lambda: connection.delete(f"uid=user2,{people}"),
        "modify_dn": lambda: connection.modify_dn(one, "uid=renamed"),
        "compare": lambda: connection.compare(one, "sn", "1"),
        "whoami": connection.extend.standard.who_am_i,
    }
    with contextlib.suppress(ldap3.core.exceptions.LDAPException, OSError):
        connection.unbind()


CLIENTS = {"python-ldap": with_python_ldap, "ldap3": with_ldap3}
ENDS = ("ldap_disconnect", "ldap_partial")
PROVOKED = [
    ("ldap_size_limit", "search"),
    ("ldap_invalid_credentials", "bind"),
    ("ldap_referral", "search"),
]
"""``test_the_servers_own_codes_are_seen_alike`` brings slapd to say these to python-ldap."""


def code(error: Any) -> object:
    """The result code, as either client has it."""
    found = getattr(error, "result", None)
    if found is None and error.args and isinstance(error.args[0], dict):
        found = error.args[0].get("result")
    return "" if found is None else found


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    native.module("ldap")
    with sessions.server() as port:
        yield port


@pytest.fixture
def proxy(server: int) -> Iterator[Behind]:
    with behind("ldap", server) as made:
        yield made


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    ("fault", "call"), [(fault, call) for fault, (calls, _) in FAULTS.items() for call in calls]
)
def test_what_a_client_makes_of_it(proxy: Behind, fault: str, call: str, client: str) -> None:
    with CLIENTS[client](proxy.port) as calls:
        proxy.fault(fault, {"first": 1}, **FAULTS[fault][1])
        raises = outcome(calls[call], code)
        if fault in ENDS:
            after = LEFT
        else:
            after = proxy.after(calls["bind"])
            assert calls["search"]() == sessions.PEOPLE
            assert calls["modify"]() == "done"
    proxy.heal()
    with CLIENTS[client](proxy.port) as calls:
        assert calls["search"]() == sessions.PEOPLE
    own = raises if (fault, call) in PROVOKED and client == "python-ldap" else ""
    check("ldap", f"{fault}: {call}", client, raises=raises, after=after, real=own)


def test_other_operations_go_on_beside_one_that_hangs(proxy: Behind) -> None:
    proxy.fault("ldap_partial", {"scope": "one"}, entries=3)
    connection = ldap.initialize(f"ldap://127.0.0.1:{proxy.port}")
    hanging = connection.search(f"ou=people,{sessions.BASE}", ldap.SCOPE_ONELEVEL)
    arrived = [connection.result(hanging, all=0, timeout=10)[0] for _ in range(3)]
    assert arrived == [ldap.RES_SEARCH_ENTRY] * 3
    assert len(connection.search_s(sessions.BASE, ldap.SCOPE_BASE)) == 1
    connection.abandon(hanging)
    assert len(connection.search_s(sessions.BASE, ldap.SCOPE_BASE)) == 1
    connection.unbind_s()


def test_the_servers_own_codes_are_seen_alike(server: int, proxy: Behind) -> None:
    """A size limit, a wrong password and a referral that slapd itself comes to."""

    def seen(port: int, run: Callable[[Any], object]) -> str:
        connection = ldap.initialize(f"ldap://127.0.0.1:{port}")
        connection.set_option(ldap.OPT_REFERRALS, 0)
        try:
            return outcome(lambda: run(connection), code)
        finally:
            connection.unbind_s()

    people = f"ou=people,{sessions.BASE}"
    cases: tuple[tuple[str, Callable[[Any], object], Callable[[Any], object]], ...] = (
        (
            "ldap_size_limit",
            lambda one: one.search_s(people, ldap.SCOPE_ONELEVEL),
            lambda one: one.search_s(people, ldap.SCOPE_ONELEVEL, "(uid=user1*)"),
        ),
        (
            "ldap_invalid_credentials",
            lambda one: one.simple_bind_s(f"uid=user1,{people}", "wrong"),
            lambda one: one.simple_bind_s(f"uid=user1,{people}", "password1"),
        ),
        (
            "ldap_referral",
            lambda one: one.search_s(f"ou=away,{sessions.BASE}", ldap.SCOPE_BASE),
            lambda one: one.search_s(sessions.BASE, ldap.SCOPE_BASE),
        ),
    )
    for fault, theirs, ours in cases:
        expected = seen(server, theirs)
        assert expected.startswith("ldap.")
        proxy.fault(fault)
        assert seen(proxy.port, ours) == expected, fault
        proxy.heal()


def test_only_the_name_that_is_asked_for_is_refused(proxy: Behind) -> None:
    proxy.fault("ldap_busy", {"dn": "*ou=people*", "kind": "search"})
    connection = ldap.initialize(f"ldap://127.0.0.1:{proxy.port}")
    assert connection.search_s(sessions.BASE, ldap.SCOPE_BASE)
    with pytest.raises(ldap.BUSY):
        connection.search_s(f"ou=people,{sessions.BASE}", ldap.SCOPE_BASE)
    assert connection.search_s(sessions.BASE, ldap.SCOPE_BASE)
    connection.unbind_s()


@pytest.mark.parametrize("url", ["", "http://a/", "ldap://a\r\n"])
def test_what_is_no_referral_is_refused(proxy: Behind, url: str) -> None:
    with pytest.raises(ConfigurationError, match="url"):
        proxy.fault("ldap_referral", url=url)
