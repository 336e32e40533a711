"""The server closes idle connections, and says why where its protocol has words for it.

Incident: SQLAlchemy 8036. MySQL sends its ERR 4031 before it closes an idle session; a driver that
reads these bytes as the reply to the next statement raises an error that no pool takes for
a disconnect.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from seism.errors import ConfigurationError
from seism.options import option
from seism.toxics.base import Commands, Rng, Stage, Toxic
from seism.toxics.parting import Parting


@dataclass(frozen=True, slots=True)
class Goodbye(Toxic):
    """Close each idle connection (FIN) behind the server's own last words.

    Words: PostgreSQL 57P01 and 57P05, MySQL 4031, 1053 and 1927, SMTP 421, LDAP's notice of
    disconnection. Protocols without any, and unknown ones, close in silence, as in ``restart``.
    """

    type: ClassVar[str] = "goodbye"
    established: ClassVar[bool] = True

    code: str = option("", help="which of the protocol's last words; default: its first")

    def check(self, last_words: Mapping[str, bytes]) -> None:
        if self.code and self.code not in last_words:
            known = ", ".join(last_words) or "none"
            raise ConfigurationError(f"code: expected one of {known}, got {self.code!r}")

    def stage(self, rng: Rng) -> Stage:
        return _LastWords(self)


class _LastWords(Parting):
    def __init__(self, toxic: Goodbye) -> None:
        super().__init__()
        self._toxic = toxic

    def words(self) -> bytes:
        words = self.session.last_words
        return words.get(self._toxic.code or next(iter(words), ""), b"")

    def updated(self, toxic: Any, now: float) -> Commands:
        self._toxic = toxic
        return ()
