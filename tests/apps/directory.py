"""OpenLDAP with five people, for applications that ask a directory."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.matrix.backends import found, server
from tests.ports import free_port

SUFFIX = "dc=example,dc=org"
PEOPLE = ("alice", "bob", "carol", "dave", "erin")
"""Each has the password ``secret123``."""

CONFIGURATION = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {folder}/slapd.pid
database mdb
suffix {suffix}
rootdn cn=admin,{suffix}
rootpw secret123
directory {folder}/data
"""


@contextmanager
def directory() -> Iterator[str]:
    """Its ``host:port``; the administrator is ``cn=admin,`` SUFFIX, password ``secret123``."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="seism-") as name:
        folder = Path(name)
        (folder / "data").mkdir()
        file = folder / "slapd.conf"
        file.write_text(CONFIGURATION.format(folder=folder, suffix=SUFFIX))
        people = folder / "people.ldif"
        people.write_text("\n".join(_entries()))
        command = [found("slapadd"), "-f", str(file), "-l", str(people)]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        options = ["-f", str(file), "-h", f"ldap://127.0.0.1:{port}", "-d", "0"]
        with server(port, folder, found("slapd"), *options):
            yield f"127.0.0.1:{port}"


def _entries() -> Iterator[str]:
    yield f"dn: {SUFFIX}\nobjectClass: dcObject\nobjectClass: organization\no: Example\n"
    for name in PEOPLE:
        yield (
            f"dn: uid={name},{SUFFIX}\nobjectClass: inetOrgPerson\nuid: {name}\ncn: {name}\n"
            f"sn: {name}\nmail: {name}@example.org\nuserPassword: secret123\n"
        )
