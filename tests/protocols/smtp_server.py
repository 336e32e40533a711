"""An SMTP server for the sessions: python -m tests.protocols.smtp_server PORT [CERTIFICATE KEY]

It logs in one user, refuses recipients at ``refused.example``, offers STARTTLS with that
certificate, or one of its own, and forgets every message.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import sys

import trustme
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session


class Handler:
    def __init__(self) -> None:
        self._messages = 0

    async def handle_VRFY(
        self, server: SMTP, session: Session, envelope: Envelope, address: str
    ) -> str:
        """``VRFY count`` tells how many messages have been delivered."""
        return f"252 {self._messages}" if address == "count" else "252 Cannot VRFY user"

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address.endswith("@refused.example"):
            return "550 5.1.1 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self._messages += 1
        return "250 OK"


def authenticate(*args: object) -> AuthResult:
    given = args[-1]
    known = isinstance(given, LoginPassword) and given == LoginPassword(b"user", b"secret")
    return AuthResult(success=known)


async def main(port: int, *tls: str) -> None:
    logging.getLogger("mail.log").setLevel(logging.ERROR)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if tls:
        context.load_cert_chain(*tls)
    else:
        trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    loop, handler = asyncio.get_running_loop(), Handler()
    server = await loop.create_server(
        lambda: SMTP(
            handler,
            tls_context=context,
            authenticator=authenticate,
            auth_require_tls=False,
            hostname="mail.example",
        ),
        "127.0.0.1",
        port,
    )
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), *sys.argv[2:]))
