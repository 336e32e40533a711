"""The example app with every planted weakness repaired, and what each kind looks like."""

from __future__ import annotations

import shutil
from pathlib import Path

import seism.demo

SOURCE = Path(seism.demo.__file__).parent / "wsgi"

KINDS = {
    "uncaught exception": "500",
    "no timeout": "slower than the deadline",
    "never recovers": "not recovered within",
    "leaked connections": "backend connections of its failed requests stay open",
    "wrong data": "wrong data: it was answered with a reply to the question of request",
    "retry storm": "retry storm: it tried db",
    "double write": "actions were done more than once",
    "missing Retry-After": "without Retry-After",
    "credentials in the log": "with credentials in the log",
    "pool never heals": "not recovered within",
}
"""Kind of weakness -> what a reason for its colour says."""

REPAIRS = {
    "example.py": {
        # A cache that breaks off is as good as one that is away.
        "            if self.cache.reachable():\n                raise\n": "",
        "Database(db_url, timeout=None)": "Database(db_url)",
        # A refusal costs nothing: there is nothing to spare the database.
        "Breaker(Database(db_url))": "Database(db_url)",
        "        except TimeoutError as error:\n            raise BackendError":
        "        except TimeoutError as error:\n            self._finish(transfer)\n"
        "            raise BackendError",
        "        self._sock.close()\n        received":
        "        with suppress(OSError):\n            self._sock.shutdown(socket.SHUT_RDWR)\n"
        "        self._sock.close()\n        received",
    },
    "annex.py": {
        "                self._keep(line)\n            raise":
        "                line.close()\n            raise",
        "                if time.monotonic() > until:\n                    raise\n":
        "                if time.monotonic() > until - PATIENCE_S / 1.2:\n"
        "                    raise\n"
        "                time.sleep(PATIENCE_S / 12)\n",
        "INSERT INTO payments (key, item) VALUES (:key, :item)":
        "INSERT INTO payments (key, item) SELECT cast(:key AS text), cast(:item AS integer) "
        "WHERE NOT EXISTS (SELECT FROM payments WHERE key = :key)",
        '            return {"error": "no reviews at the moment"}':
        '            request.response.headers["Retry-After"] = str(example.RETRY_AFTER_S)\n'
        '            return {"error": "no reviews at the moment"}',
        'log.error("backend %s: nothing from %s", error.backend, self.accounts_url)':
        'log.error("backend %s: no invoices", error.backend)',
        "Sessions(Database(db_url))": "Database(db_url)",
    },
}  # fmt: skip
"""File -> what is in it -> what it should be."""


def copy(to: Path, changes: dict[str, dict[str, str]] | None = None) -> Path:
    """The example app with ``changes``, in a new folder, without what was planted in it."""
    ignored = shutil.ignore_patterns("planted.toml", "__pycache__")
    shutil.copytree(SOURCE, to, ignore=ignored)
    change(to, changes or {})
    return to


def change(folder: Path, changes: dict[str, dict[str, str]]) -> None:
    """Make ``changes`` there; what is to be changed must be there, once."""
    for name, replaced in changes.items():
        text = (folder / name).read_text(encoding="utf-8")
        for old, new in replaced.items():
            assert text.count(old) == 1, (name, old)
            text = text.replace(old, new)
        (folder / name).write_text(text, encoding="utf-8")
