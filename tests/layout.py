"""The rules of the house, as functions from source to violations.

``tests/test_layout.py`` applies them to the repository, and shows that each one bites.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

LAYOUT = (
    "errors",
    "options",
    "model",
    "clock",
    "rng",
    "signals",
    "schema",
    "toxics",
    "protocols",
    "journal",
    "verdict",
    "registry",
    "proxy",
    "dashboard",
    "client",
    "experiment",
    "sidecar",
    "report",
    "watch",
    "testing",
    "pytest_plugin",
    "demo",
    "commands",
    "cli",
    "__main__",
)
"""The members of ``seism``, from the top; one imports from itself and from those above."""

APPLICATIONS = ("seism/demo/wsgi/", "seism/demo/asgi/")
"""Example apps: they are run, never imported, and import what an app imports."""

SHARED = (["contract"], ["wire"], ["route"])
"""The modules of ``seism_middleware`` that ``seism`` imports, too."""

LAZY = {
    *("webob", "blinker", "statsd", "pyramid", "django", "asgiref", "flask", "starlette"),
    *("celery", "rq"),
}
"""What ``seism_middleware`` may use where it is there, and never imports with a module."""

IMPURE = {
    "asyncio", "datetime", "gevent", "logging", "random", "secrets", "select", "selectors",
    "socket", "ssl", "threading", "time",
    "seism.clock", "seism.rng",
}  # fmt: skip
"""What sans-IO code has no use for."""

LONGEST_SLEEP = 1.0
"""Seconds: pacing a load is fine, and so is a pause between two looks; waiting is not."""

# Composed, so that this file does not hold what it looks for.
MACHINE = re.compile(r"(?<![\w.])/(?:" + "|".join(("work", "root", "home/[a-z]", "tmp/w")) + r")\b")


def imports(tree: ast.Module) -> Iterator[tuple[str, int, bool]]:
    """(dotted name, line, lazy) of each import; lazy: in a function, or guarded by if or try."""

    def walk(node: ast.AST, lazy: bool) -> Iterator[tuple[str, int, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from ((alias.name, child.lineno, lazy) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                module = "." * child.level + (child.module or "")
                yield from (
                    (f"{module}.{alias.name}" if module else alias.name, child.lineno, lazy)
                    for alias in child.names
                )
            else:
                guards = (ast.FunctionDef, ast.AsyncFunctionDef, ast.If, ast.Try)
                yield from walk(child, lazy or isinstance(child, guards))

    return walk(tree, False)


def violations(path: str, source: str) -> list[str]:
    """What one file breaks; ``path`` is relative to the repository, with slashes."""
    found = [f"{line}: names a path of a machine" for line in _machine_lines(source)]
    if path.endswith(".py"):
        tree = ast.parse(source)
        if path.startswith("seism_middleware/"):
            found += _environment(path, tree)
        if path.startswith("seism/") and not path.startswith(APPLICATIONS):
            found += _environment(path, tree)
            found += _order(path, tree)
            found += _monkey(path, tree)
        if path.startswith(("seism/toxics/", "seism/protocols/")):
            found += _pure(tree)
        if path.startswith("seism_middleware/"):
            found += _middleware(tree)
            found += _monkey(path, tree)
        if path.startswith("tests/"):
            found += _sleep(tree)
    return [f"{path}:{line}" for line in found]


def _machine_lines(source: str) -> Iterator[int]:
    for number, line in enumerate(source.splitlines(), 1):
        if MACHINE.search(line):
            yield number


def _order(path: str, tree: ast.Module) -> Iterator[str]:
    member = Path(path).with_suffix("").parts[1]
    rows = {name: row for row, name in enumerate(LAYOUT)}
    if member == "__init__":
        rows[member] = -1
    elif member not in rows:
        yield f"1: {member} has no place in the layout"
        return
    for name, line, _ in imports(tree):
        parts = name.split(".")
        if parts[0] == "":
            yield f"{line}: relative import"
        elif parts[0] == "seism_middleware" and parts[1:2] not in SHARED:
            yield f"{line}: {name}: only contract, wire and route are shared with the app"
        elif parts[0] == "seism" and rows.get("".join(parts[1:2]), -1) > rows[member]:
            yield f"{line}: {member} imports {parts[1]}, which does not stand above it"


def _middleware(tree: ast.Module) -> Iterator[str]:
    for name, line, lazy in imports(tree):
        top = name.split(".")[0]
        if top in {"seism_middleware", "__future__"} or top in sys.stdlib_module_names:
            continue
        if not (top in LAZY and lazy):
            yield f"{line}: the app's process must not import {name} here"


def _pure(tree: ast.Module) -> Iterator[str]:
    for name, line, _ in imports(tree):
        if any(name == impure or name.startswith(f"{impure}.") for impure in IMPURE):
            yield f"{line}: sans-IO code imports {name}"


ENVIRONMENT = {
    "seism/proxy/pump.py": "which of two classes a link is must be known when its class is made",
    "seism_middleware/inject/sitecustomize.py": "Python imports it at its start, to act",
    "seism_middleware/redirect/sitecustomize.py": "Python imports it at its start, to act",
}
"""Modules that read the environment when they are imported, and why."""


def _environment(path: str, tree: ast.Module) -> Iterator[str]:
    """Reads of the environment at import: outside of functions, and in their defaults."""
    if path in ENVIRONMENT:
        return

    def walk(node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            inner = [*node.args.defaults, *filter(None, node.args.kw_defaults)]
        else:
            inner = list(ast.iter_child_nodes(node))
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv", "environb"):
            yield f"{node.lineno}: the environment is read at import"
        for child in inner:
            yield from walk(child)

    yield from walk(tree)


def _monkey(path: str, tree: ast.Module) -> Iterator[str]:
    if path == "seism/cli.py":
        return
    for name, line, _ in imports(tree):
        if name.startswith("gevent.monkey"):
            yield f"{line}: monkey patching belongs to seism/cli.py"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr.startswith(("patch_all", "patch_socket")):
            yield f"{node.lineno}: monkey patching belongs to seism/cli.py"


def _sleep(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "time.sleep":
            numbers = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
            if not numbers or max(numbers) > LONGEST_SLEEP:
                yield f"{node.lineno}: a test waits for a condition, it does not sleep"
