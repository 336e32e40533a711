"""What a SQL statement is, without its values."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seism.protocols.sql import MYSQL, POSTGRESQL, SHAPE_LIMIT, VERBS, shape, statement

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
COMMENT = f"/*app='a',traceparent='00-{TRACE}-00f067aa0ba902b7-01'*/"
BOTH = [pytest.param(POSTGRESQL, id="postgresql"), pytest.param(MYSQL, id="mysql")]


@pytest.mark.parametrize("dialect", BOTH)
@pytest.mark.parametrize(
    ("sql", "summary"),
    [
        ("SELECT 1", "SELECT"),
        ("select * from Items where name = 'x'", "SELECT items"),
        ("  -- a comment\n/* another */ (SELECT a FROM shop.orders)", "SELECT shop.orders"),
        ("INSERT INTO items (a) VALUES (1)", "INSERT items"),
        ("insert ignore into items values (1)", "INSERT items"),
        ("UPDATE ONLY items SET a = 1 FROM others", "UPDATE items"),
        ("DELETE FROM items", "DELETE items"),
        ("TRUNCATE TABLE items", "TRUNCATE items"),
        ("CREATE TABLE IF NOT EXISTS items (a int)", "CREATE items"),
        ("DROP TABLE IF EXISTS items", "DROP items"),
        ("WITH recent AS (SELECT * FROM log) INSERT INTO items SELECT * FROM recent",
         "INSERT items"),
        ("SELECT a FROM (SELECT b FROM inner_table) AS x", "SELECT inner_table"),
        ("SELECT (SELECT max(a) FROM inner_table) FROM items", "SELECT items"),
        ("SELECT extract(year FROM made) FROM items", "SELECT items"),
        ("BEGIN; SELECT * FROM items", "BEGIN"),
        ("COMMIT", "COMMIT"),
        ("SELECT 'it''s from secret' FROM items", "SELECT items"),
        ("SELECT * FROM 'secret'", "SELECT"),
        ("SELECT 'from secret", "SELECT"),
        ("hunter2 is my password", "SQL"),
        ("", "SQL"),
    ],
)  # fmt: skip
def test_verb_and_table(sql: str, summary: str, dialect: re.Pattern[str]) -> None:
    assert statement(sql.encode(), dialect).summary == summary


@pytest.mark.parametrize(
    ("sql", "dialect", "summary"),
    [
        ('SELECT * FROM "My Items"', POSTGRESQL, "SELECT My Items"),
        ('SELECT * FROM shop."Orders" o', POSTGRESQL, "SELECT shop.Orders"),
        ("SELECT $$ from secret $$ FROM items", POSTGRESQL, "SELECT items"),
        ("SELECT $tag$ $$ from secret $tag$ FROM items", POSTGRESQL, "SELECT items"),
        # A backslash escapes nothing there, unless the literal begins with E.
        (r"SELECT '\', a FROM items", POSTGRESQL, "SELECT items"),
        (r"SELECT E'\' from secret', a FROM items", POSTGRESQL, "SELECT items"),
        ("COPY items FROM STDIN", POSTGRESQL, "COPY items"),
        ("SELECT * FROM `my items`", MYSQL, "SELECT my items"),
        ("SELECT * FROM `shop`.`orders`", MYSQL, "SELECT shop.orders"),
        (r"SELECT '\' from secret', a FROM items", MYSQL, "SELECT items"),
        ('SELECT "from secret" FROM items', MYSQL, "SELECT items"),
        ("# from secret\nSELECT a FROM items", MYSQL, "SELECT items"),
        ("LOAD DATA LOCAL INFILE '/secret' INTO TABLE items", MYSQL, "LOAD items"),
    ],
)
def test_dialects(sql: str, dialect: re.Pattern[str], summary: str) -> None:
    assert statement(sql.encode(), dialect).summary == summary


@pytest.mark.parametrize("dialect", BOTH)
def test_a_trace_is_read_from_comments_only(dialect: re.Pattern[str]) -> None:
    long = f"SELECT '{'x' * 20_000}' FROM items "
    assert statement(f"SELECT 1 {COMMENT}".encode(), dialect).trace == TRACE
    assert statement((long + COMMENT).encode(), dialect).trace == TRACE
    literal = COMMENT.replace("'", "")
    assert statement(f"SELECT '{literal}'".encode(), dialect).trace == ""


@given(st.binary(max_size=300), st.sampled_from([POSTGRESQL, MYSQL]))
def test_anything_may_come(sql: bytes, dialect: re.Pattern[str]) -> None:
    found = statement(sql, dialect)
    assert found.verb in VERBS | {"SQL"}


@given(st.text("abc'\\$ ", max_size=40), st.sampled_from([POSTGRESQL, MYSQL]))
def test_a_literal_is_never_shown(value: str, dialect: re.Pattern[str]) -> None:
    """Written as a driver writes it."""
    quoted = value.replace("'", "''")
    if dialect is MYSQL:
        quoted = quoted.replace("\\", "\\\\")
    sql = f"SELECT 'from {quoted}' , ' from secret' FROM items"
    assert statement(sql.encode(), dialect).summary == "SELECT items"


@pytest.mark.parametrize("dialect", BOTH)
@pytest.mark.parametrize("part", ["'", '"', "`", "/*", "$a$", "(", "E'\\", "a.", "--", "$", "x "])
def test_it_takes_time_that_is_linear(part: str, dialect: re.Pattern[str]) -> None:
    """A statement of 64 KiB that is looked at as a whole, for a trace, holds nobody up."""
    sql = ("SELECT traceparent " + part * 60_000)[:60_000].encode()
    began = time.process_time()
    statement(sql, dialect)
    assert time.process_time() - began < 1


@pytest.mark.parametrize("dialect", BOTH)
@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT  1,\n 'a''b' -- 2\nFROM t", "SELECT ?, ? FROM t"),
        ("UPDATE t SET a = 'secret' /* it */ WHERE id = 17", "UPDATE t SET a = ? WHERE id = ?"),
        ("SELECT * FROM t WHERE a IN (1, 2.5, $3)", "SELECT * FROM t WHERE a IN (?, ?, ?)"),
        ("SELECT 'never ends", "SELECT ?"),
        ("SELECT a /* never ends", "SELECT a"),
    ],
)
def test_the_shape_has_no_values(sql: str, expected: str, dialect: re.Pattern[str]) -> None:
    assert shape(sql, dialect) == expected


def test_quotes_differ_in_shapes_too() -> None:
    assert shape('SELECT "a" FROM t', POSTGRESQL) == 'SELECT "a" FROM t'
    assert shape('SELECT "a" FROM t', MYSQL) == "SELECT ? FROM t"
    assert shape("SELECT $x$ 'a $x$, `b` FROM t", POSTGRESQL) == "SELECT ?, `b` FROM t"


@pytest.mark.parametrize("dialect", BOTH)
@given(before=st.text("abz ,=()", max_size=20), secret=st.text("sxq", min_size=5, max_size=30))
def test_no_literal_is_left_in_a_shape(before: str, secret: str, dialect: re.Pattern[str]) -> None:
    found = shape(f"SELECT {before} '{secret}' x" * 20, dialect)
    assert secret not in found
    assert len(found) <= SHAPE_LIMIT
