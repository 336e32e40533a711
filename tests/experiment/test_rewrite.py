"""Addresses in an app's settings: what is a backend's is replaced, and nothing else."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seism.errors import ConfigurationError
from seism.experiment.rewrite import Copies, Rewriter, places

UPSTREAMS = {"db": "127.0.0.1:5432", "cache": "cache.example:6380", "web": "[2001:db8::1]:80"}
PROXIES = {"db": "127.0.0.1:40001", "cache": "127.0.0.1:40002", "web": "127.0.0.1:40003"}


@pytest.fixture
def rewriter() -> Rewriter:
    return Rewriter(places(UPSTREAMS, PROXIES))


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ("127.0.0.1:5432", "127.0.0.1:40001"),
        ("localhost:5432", "127.0.0.1:40001"),
        ("[::1]:5432", "127.0.0.1:40001"),
        ("postgresql+psycopg2://me:s3cret@localhost:5432/x?a=b", "postgresql+psycopg2://me:s3cret@127.0.0.1:40001/x?a=b"),
        ("postgresql://me:s3cret@localhost/x", "postgresql://me:s3cret@127.0.0.1:40001/x"),
        ("postgres://LOCALHOST", "postgres://127.0.0.1:40001"),
        ("redis://Cache.Example:6380/0", "redis://127.0.0.1:40002/0"),
        ("other.example:1,cache.example:6380", "other.example:1,127.0.0.1:40002"),
        ("http://[2001:db8::1]/x", "http://127.0.0.1:40003/x"),
        ("http://[2001:db8::1]:80/x", "http://127.0.0.1:40003/x"),
        ("tcp:127.0.0.1:5432", "tcp:127.0.0.1:40001"),
        ("host=localhost port=5432 dbname=x", "host=127.0.0.1 port=40001 dbname=x"),
    ],
)  # fmt: skip
def test_what_is_a_backend_s(rewriter: Rewriter, was: str, now: str) -> None:
    assert rewriter.value(was, "here") == now
    (done,) = rewriter.done
    assert "s3cret" not in str(done)
    assert "here" in str(done)


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1:54321",
        "127.0.0.1:543",
        "1127.0.0.1:5432",
        "mylocalhost:5432",
        "my-localhost:5432",
        "localhost",
        "5432",
        "redis://localhost/0",  # redis' usual port is not that of db
        "redis://cache.example/0",  # nor is 6380 redis' usual one
        "mysql://me@127.0.0.1/x",
        "cache.example.org:6380",
        "host=localhost port=5433",
        "host=other port=5432",
    ],
)
def test_what_is_not(rewriter: Rewriter, text: str) -> None:
    assert rewriter.value(text, "here") == text
    assert rewriter.done == []


def test_host_and_port_apart(rewriter: Rewriter) -> None:
    values = {
        "PGHOST": "localhost", "PGPORT": "5432",
        "DB_HOST": "localhost", "DB_PORT": "5433",
        "CacheServer": "cache.example", "CachePort": "6380",
        "HOST": "localhost",
        "SEISM_HOST": "localhost", "SEISM_PORT": "5432",
    }  # fmt: skip
    before = dict(values)
    rewriter.settings(values, "environment")
    assert values == before | {
        "PGHOST": "127.0.0.1", "PGPORT": "40001", "CacheServer": "127.0.0.1", "CachePort": "40002",
    }  # fmt: skip
    assert [done.where for done in rewriter.done] == [
        "environment PGHOST, PGPORT", "environment CacheServer, CachePort",
    ]  # fmt: skip


def test_backends_at_one_address_are_not_told_apart() -> None:
    one = {"a": "localhost:1", "b": "127.0.0.1:1"}
    rewriter = Rewriter(places(one, {"a": "127.0.0.1:2", "b": "127.0.0.1:3"}))
    assert rewriter.value("localhost:11", "here") == "localhost:11"
    with pytest.raises(ConfigurationError, match="the backends a and b"):
        rewriter.value("localhost:1", "here")


def test_unix_sockets_are_left_alone() -> None:
    assert places({"a": "unix:/s", "b": "localhost:1"}, {"a": "unix:/t", "b": "unix:/u"}) == ()


INI = """\
# 127.0.0.1:5432 in a comment
[DEFAULT]
db_host = localhost
db_port = 5432

[app:main]
use = config:base.ini#main
data = %(here)s/data
sqlalchemy.url: postgresql://me:s3cret@localhost/x
caches =
    other:1
    cache.example:6380
percent = 100%%

[server:main]
use = egg:waitress#main
host = 127.0.0.1
port = 6543
"""


def test_an_ini_file(tmp_path: Path, rewriter: Rewriter) -> None:
    private = tmp_path / "private"
    private.mkdir()
    app = tmp_path / "a 50% app"
    app.mkdir()
    (app / "app.ini").write_text(INI)
    (app / "base.ini").write_text("[app:main]\nuse = call:x:y\nredis = cache.example:6380\n")
    copies = Copies(private, rewriter)
    word = copies.word("app.ini", app)
    assert copies.word("--paste=app.ini#main", app) == f"--paste={word}#main"
    assert copies.word("none.ini", app) == "none.ini"
    assert copies.word("pserve", app) == "pserve"
    assert copies.word("--db=localhost:5432", app) == "--db=127.0.0.1:40001"
    copy = Path(word)
    assert copy.parent == private
    assert copy.stat().st_mode & 0o777 == 0o600
    parser = configparser.ConfigParser()
    parser.read(copy)
    main = parser["app:main"]
    assert main["data"] == f"{app}/data"
    assert main["sqlalchemy.url"] == "postgresql://me:s3cret@127.0.0.1:40001/x"
    assert main["caches"].split() == ["other:1", "127.0.0.1:40002"]
    assert main["percent"] == "100%"
    assert (main["db_host"], main["db_port"]) == ("127.0.0.1", "40001")
    assert parser["server:main"]["port"] == "6543"
    assert "# 127.0.0.1:5432 in a comment" in copy.read_text()
    base = Path(main["use"].removeprefix("config:").removesuffix("#main"))
    assert base.parent == private
    assert "redis = 127.0.0.1:40002" in base.read_text()
    assert (app / "app.ini").read_text() == INI
    assert not any("s3cret" in str(done) for done in rewriter.done)


def test_a_file_without_addresses_is_not_copied(tmp_path: Path, rewriter: Rewriter) -> None:
    (tmp_path / "app.ini").write_text("[app:main]\nuse = config:app.ini\n")
    assert Copies(tmp_path / "none", rewriter).word("app.ini", tmp_path) == "app.ini"


@given(st.text())
def test_any_text_is_taken(text: str) -> None:
    rewriter = Rewriter(places(UPSTREAMS, PROXIES))
    new = rewriter.ini(text, "x.ini")
    assert bool(rewriter.done) or new == text
