"""One word for one thing in every page, as the glossary has it; and no typing errors."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, name, prose

# The right word, and the wrong ones; in prose, not in code.
VOCABULARY = {
    "PostgreSQL": r"Postgres|PostGres\w*|postgres(ql)?|Postgresql|PostGreSQL",
    "MySQL": r"MySql|Mysql|mysql|MySQl",
    "MariaDB": r"Mariadb|mariadb|Maria DB",
    "Redis": r"redis|REDIS",
    "Valkey": r"valkey|ValKey",
    "memcached": r"Memcached|MemCached|memcache|Memcache",
    "OpenLDAP": r"OpenLdap|Openldap|openldap",
    "HAProxy": r"Haproxy|haproxy|HaProxy|HA[- ]Proxy",
    "Toxiproxy": r"ToxiProxy|toxiproxy|Toxy\w*",
    "OpenTelemetry": r"Opentelemetry|opentelemetry|Open Telemetry|OTel",
    "OpenAPI": r"OpenApi|Openapi|openapi|Open API",
    "Prometheus": r"prometheus",
    "Graphite": r"graphite",
    "Grafana": r"grafana",
    "statsd or StatsD": r"Statsd|STATSD|statsD",
    "GitHub": r"Github|github",
    "GitLab": r"Gitlab|gitlab",
    "Jenkins": r"jenkins",
    "JUnit": r"Junit|junit",
    "JavaScript": r"Javascript|javascript",
    "PasteDeploy": r"Paste Deploy|Pastedeploy|PasteDeployment",
    "FastAPI": r"FastApi|Fastapi|fastapi|fastAPI",
    "Django": r"django",
    "Pyramid": r"pyramid",
    "Flask": r"flask",
    "gevent": r"Gevent|GEvent",
    "asyncio": r"Asyncio|AsyncIO|async-io",
    "pytest": r"Pytest|PyTest|py\.test",
    "Seism": r"SEISM|SeisM",
    "backend": r"back-ends?|back ends?",
    "front": r"front-ends?|frontends?",
    "sidecar": r"side-cars?|side cars?",
    "middleware": r"middle-ware|middlewares",
    "upstream": r"up-stream",
    "downstream": r"down-stream",
    "aftershock": r"after-shocks?|after shocks?",
    "timeout": r"time-outs?",
    "journalled": r"journaled|journaling",
    "colour": r"colors?|colored",
    "behaviour": r"behaviors?",
    "possible": r"approximate(ly)? exact|almost exact",
    "perturbation": r"perturbance|pertubations?|pertubes?",
}
_WRONG = {
    right: re.compile(rf"(?<![\w./@:-])(?:{wrong})(?![\w/@]|\.\w|-\w)")
    for right, wrong in VOCABULARY.items()
}


def misspelt(text: str) -> Iterator[str]:
    """The words of a page that are others than the vocabulary's."""
    for line, words in prose(text):
        for right, wrong in _WRONG.items():
            for found in wrong.finditer(words):
                yield f"{line}: {found[0]!r} should be {right}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_vocabulary_is_kept(page: Path) -> None:
    assert list(misspelt(page.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("word", ["Postgres", "Memcached", "back-end", "redis", "Github"])
def test_another_word_is_found(word: str) -> None:
    assert len(list(misspelt(f"# A page\n\nIt asks the {word}, often.\n"))) == 1


def test_code_and_addresses_are_left_alone() -> None:
    text = "Run `redis-server`, see <https://github.com/x>:\n\n```sh\nredis-cli\n```\n\nredis-py.\n"
    assert list(misspelt(text)) == []


def test_there_are_no_typing_errors() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "codespell_lib", *map(str, PAGES)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_a_typing_error_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("It is " + "recie" + "ved.\n")
    done = subprocess.run(
        [sys.executable, "-m", "codespell_lib", str(page)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "==> received" in done.stdout
