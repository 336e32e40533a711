"""bonsai pull 71: where its pool gets no connection, UnboundLocalError hides the reason."""

import os

import bonsai
from bonsai.pool import ThreadedConnectionPool

from tests.pairs.serving import wsgi

client = bonsai.LDAPClient(f"ldap://{os.environ['LDAP']}")
pool = ThreadedConnectionPool(client, minconn=1, maxconn=8)


def ask() -> None:
    with pool.spawn(timeout=1) as connection:
        try:
            connection.search("", bonsai.LDAPSearchScope.BASE, "(objectClass=*)", timeout=1)
        except bonsai.LDAPError:
            connection.close()
            raise


app = wsgi(ask, (bonsai.LDAPError,))
