"""Which packages are the app's own, though they are installed beside the libraries.

An application that was installed by pip lives where its libraries do. What tells it apart is how
the process was started: ``gunicorn shop.wsgi:app``, ``python -m shop``, the script that pip made
for ``shop serve``, ``pserve`` with a file that says ``use = egg:shop``.
"""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence

LAUNCHERS = frozenset(
    """aiohttp bottle celery cheroot cherrypy click daphne ddtrace django dramatiq fastapi
    fastapi_cli flask gevent granian gunicorn huey hypercorn litestar multiprocessing newrelic
    opentelemetry os paste pyramid pytest quart re rq runpy sanic sys tornado twisted typer uvicorn
    uwsgi waitress werkzeug""".split()
)
"""Modules that start an application, or are imported to do so, and are none."""
SCRIPT_BYTES = 16 * 1024
"""How much of a script, or of a file of settings, is read."""

_OBJECT = re.compile(r"(?:--[\w-]+=)?([A-Za-z_]\w*)[\w.]*:[A-Za-z_][\w.]*(?:\(.*\))?")
_IMPORT = re.compile(r"^\s*(?:from|import)\s+([A-Za-z_]\w*)", re.MULTILINE)
_EGG = re.compile(r"^\s*use\s*=\s*egg:([\w.-]+)", re.MULTILINE)
_MODULE_OPTIONS = ("-m", "-A", "--app")
_VARIABLES = ("DJANGO_SETTINGS_MODULE", "FLASK_APP")


@functools.cache
def packages() -> frozenset[str]:
    """The top-level names of this process's."""
    return of([*sys.orig_argv, *sys.argv], os.environ)


def of(command: Sequence[str], environ: Mapping[str, str]) -> frozenset[str]:
    """Those of a process that was started by ``command`` with ``environ``."""
    named = {environ.get(name, "").partition(":")[0] for name in _VARIABLES}
    named.update(_modules(command))
    top = {name.partition(".")[0] for name in named}
    return frozenset(name for name in top - LAUNCHERS if name and not name.startswith("seism"))


def _modules(command: Sequence[str]) -> Iterator[str]:
    before = ""
    for word in command:
        if before in _MODULE_OPTIONS:
            yield word.partition(":")[0]
        elif found := _OBJECT.fullmatch(word):
            yield found[1]
        elif word.endswith(".ini"):
            yield from (name.replace("-", "_").lower() for name in _EGG.findall(_text(word)))
        elif os.path.basename(os.path.dirname(word)) == "bin":
            script = _text(word)
            yield from _IMPORT.findall(script) if script.startswith("#!") else ()
        before = word


def _text(path: str) -> str:
    """The first part of a file, empty if there is none."""
    try:
        with open(path, "rb") as file:
            return file.read(SCRIPT_BYTES).decode(errors="replace")
    except (OSError, ValueError):
        return ""
