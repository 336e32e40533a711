"""What a SQL statement is, without its values: verb, table, trace id.

A scan, not a parser: comments, literals and names are told apart in time that is linear in
the length, so that no value can be taken for a table. What the scan does not find is empty.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from seism.protocols.base import (
    ADDS,
    CHANGES,
    COMMAND,
    COMMITS,
    SETS,
    SUMMARY_LIMIT,
    Exchange,
)
from seism_middleware.contract import TRACEPARENT as TRACEPARENT_VALUE

__all__ = [
    "LOCKS_ROWS",
    "REGEX_HELP",
    "SHAPE_LIMIT",
    "SQL_LIMIT",
    "VERBS",
    "WRITES_ROWS",
    "Statement",
    "shape",
    "statement",
]

SQL_LIMIT = 4096
"""Characters of a statement that are looked at, and kept as the field ``sql``."""

SHAPE_LIMIT = 1024
"""Characters of what ``shape`` returns."""

REGEX_HELP = (
    f"a regular expression, searched for in any case in the first {SHAPE_LIMIT} characters of"
    " the statement, in which each literal is a ?, each stretch of blanks one, and no comment"
)

_VERBS = (
    "ALTER ANALYZE BEGIN CALL CHECKPOINT CLOSE COMMENT COMMIT COPY CREATE DEALLOCATE DECLARE "
    "DELETE DESC DESCRIBE DISCARD DO DROP END EXECUTE EXPLAIN FETCH FLUSH GRANT HANDLER "
    "INSERT KILL LISTEN LOAD LOCK MERGE MOVE NOTIFY OPTIMIZE PREPARE REFRESH REINDEX RELEASE "
    "RENAME REPLACE RESET REVOKE ROLLBACK SAVEPOINT SELECT SET SHOW START TABLE TRUNCATE "
    "UNLISTEN UNLOCK UPDATE USE VACUUM VALUES WITH XA"
)
VERBS = frozenset(_VERBS.split())
"""First words that become a kind; any other statement is ``SQL``."""

CHANGING = {
    "INSERT": ADDS,
    "UPDATE": CHANGES,
    "DELETE": CHANGES,
    "MERGE": CHANGES,
    "REPLACE": SETS,
    "COMMIT": COMMITS,
}
"""Verbs -> their effects."""
_REPEATABLE = re.compile(
    rb"ON\s+CONFLICT|ON\s+DUPLICATE|INSERT\s+IGNORE|WHERE\s+NOT\s+EXISTS", re.IGNORECASE
)

MAIN = {"SELECT", "INSERT", "UPDATE", "DELETE", "MERGE"}
"""What a WITH clause can belong to."""

BEFORE_TABLE = {"FROM", "INTO", "UPDATE", "TABLE", "JOIN", "COPY", "TRUNCATE"}
BETWEEN = {"ONLY", "IF", "NOT", "EXISTS", "TABLE", "LOW_PRIORITY", "IGNORE", "INTO", "FROM"}
NO_NAME = VERBS - {"TABLE"} | {"WHERE", "VALUES", "ON", "USING", "LATERAL", "OF", "NOWAIT", "SKIP"}


def effect(exchange: Exchange, data: bytes) -> str:
    """The effect of a statement whose first bytes are ``data``: one that says what to do about
    duplicates ``SETS``.
    """
    found = CHANGING.get(exchange.kind, "") if exchange.phase == COMMAND else ""
    # A prepared statement was sent before; what is known of it has its text.
    known = exchange.fields.get("sql", "").encode("utf-8", "replace") or data
    return SETS if found == ADDS and _REPEATABLE.search(known) else found


_CHANGES = "insert|update|delete|merge|replace"
WRITES_ROWS = {"regex": rf"^ ?({_CHANGES}|load|copy|create|alter)\b|^ ?with\b.*\b({_CHANGES})\b"}
"""A condition of exchanges: statements that need space."""
LOCKS_ROWS = {
    "regex": rf"^ ?({_CHANGES}|commit|end)\b|^ ?with\b.*\b({_CHANGES})\b"
    r"|\bfor (no key )?(update|share)\b|\bfor key share\b|\block in share mode\b"
}
"""A condition of exchanges: statements that meet others' locks, which no plain SELECT does."""

NAME = r"[^\W\d][\w$]*"
# Every alternative is one way to read on from where it starts; unterminated ones go to the end. A
# string that has begun is always one token: otherwise the rest would be read again from each of its
# quotes. The tag of a dollar quote holds no dollar: it would be compared again at each of them.
TOKEN = r"""
    (?P<comment> --[^\n]* | /\*.*?(?:\*/|\Z) {hash} )
  | (?P<value> {strings} | \$(?P<tag>(?:[^\W\d]\w*)?)\$.*?(?:\$(?P=tag)\$|\Z) | [\d@:$][\w$.]* )
  | (?P<word> {name} )
  | (?P<quoted> {quoted} )
  | (?P<mark> [().,;] )
  | \s+ | .
"""
POSTGRESQL = re.compile(
    TOKEN.format(
        hash="",
        strings=r"[eE]'(?:[^'\\]|\\(?:.|\Z)|'')*(?:'|\Z) | '(?:[^']|'')*(?:'|\Z)",
        quoted=r'"[^"]*(?:"|\Z)',
        name=NAME,
    ),
    re.VERBOSE | re.DOTALL,
)
MYSQL = re.compile(
    TOKEN.format(
        hash=r"| \#[^\n]*",
        strings=r"""'(?:[^'\\]|\\(?:.|\Z)|'')*(?:'|\Z) | "(?:[^"\\]|\\(?:.|\Z)|"")*(?:"|\Z)""",
        quoted=r"`[^`]*(?:`|\Z)",
        name=NAME,
    ),
    re.VERBOSE | re.DOTALL,
)
TRACEPARENT = re.compile(rf"traceparent\s*=\s*['\"]?{TRACEPARENT_VALUE}")


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement, or the first of several."""

    verb: str
    """One of VERBS or ``SQL``; for ``WITH ... INSERT`` it is ``INSERT``."""
    table: str = ""
    """The first table that is named, without its schema's quotes; unquoted names in lower case."""
    sql: str = ""
    """The text, at most SQL_LIMIT characters: it holds values, so it is for matching only."""
    trace: str = ""
    """The trace id of a sqlcommenter comment (https://google.github.io/sqlcommenter/spec/)."""

    @property
    def summary(self) -> str:
        return f"{self.verb} {self.table}".rstrip()

    def describe(self, exchange: Exchange) -> None:
        """Have ``exchange`` say what it is."""
        exchange.kind, exchange.trace = self.verb, self.trace
        exchange.summary = self.summary[:SUMMARY_LIMIT]
        exchange.fields.update(verb=self.verb, table=self.table, sql=self.sql)


def statement(sql: bytes, dialect: re.Pattern[str]) -> Statement:
    """What ``sql`` says; ``dialect`` is POSTGRESQL or MYSQL, whose quotes differ."""
    # A comment is mostly the last thing in a statement, so its end is looked at as well.
    whole = sql.decode("utf-8", "replace")
    text = whole[:SQL_LIMIT]
    verb, table, depth, pending, inner = "", "", 0, False, ""
    tokens = dialect.finditer(text)
    for token in tokens:
        kind = token.lastgroup
        if kind == "word" or (kind == "quoted" and pending):
            word = token[0].upper()
            if not verb or (verb == "WITH" and depth == 0 and word in MAIN):
                verb = word if word in VERBS else "SQL"
                pending = word in BEFORE_TABLE
            elif pending and word not in BETWEEN:
                pending = False
                if kind == "quoted" or word not in NO_NAME:
                    name = _name(token, dialect)
                    if depth == 0 or verb == "SQL":
                        table = name
                        break
                    inner = inner or name
            elif kind == "word" and word in BEFORE_TABLE:
                pending = True
        elif kind == "mark":
            depth += {"(": 1, ")": -1}.get(token[0], 0)
            pending = pending and token[0] == "("
            if token[0] == ";" and verb:
                break
        elif kind == "value":
            pending = False
    return Statement(verb or "SQL", table or inner, text, _trace(whole, dialect))


def shape(text: str, dialect: re.Pattern[str]) -> str:
    """``text`` of a statement, at most SHAPE_LIMIT characters, without values and comments."""
    stand_ins = {"value": "?", "comment": " "}
    tokens = dialect.finditer(text)
    parts = (stand_ins.get(token.lastgroup or "", token[0]) for token in tokens)
    return " ".join("".join(parts).split())[:SHAPE_LIMIT]


def _name(token: re.Match[str], dialect: re.Pattern[str]) -> str:
    """The name that starts with ``token``, of up to three parts."""
    parts = []
    for _ in range(3):
        quoted = token.lastgroup == "quoted"
        parts.append(token[0].strip('`"') if quoted else token[0].lower())
        dot = dialect.match(token.string, token.end())
        following = dialect.match(token.string, dot.end()) if dot and dot[0] == "." else None
        if following is None or following.lastgroup not in {"word", "quoted"}:
            break
        token = following
    return ".".join(parts)[:80]


def _trace(text: str, dialect: re.Pattern[str]) -> str:
    if "traceparent" not in text:
        return ""
    for token in dialect.finditer(text):
        if token.lastgroup == "comment" and (found := TRACEPARENT.search(token[0])):
            return found[1]
    return ""
