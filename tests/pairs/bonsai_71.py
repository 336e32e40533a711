"""bonsai pull 71: where the server does not answer, its own error path raises NameError."""

import os

import bonsai

from tests.pairs.serving import wsgi

client = bonsai.LDAPClient(f"ldap://{os.environ['LDAP']}")


def ask() -> None:
    with client.connect(timeout=1) as connection:
        connection.search("", bonsai.LDAPSearchScope.BASE, "(objectClass=*)", timeout=1)


app = wsgi(ask, (bonsai.LDAPError,))
