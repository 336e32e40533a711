"""CPython's own tests of what is patched, with the patches and without them.

``python -m tests.cpython.run [MODULE ...]`` runs each module twice, in a process of its own,
and compares the outcomes by test id. It fails if one differs. With the patches every test
runs inside of a request and every connection counts as one to a proxy, so that all of the
patched code does its work. Without arguments: all of ``MODULES``.

With ``--faulty`` whatever a patch asks of the ledger raises: a fault of ours, inside each patch, in
whatever state these tests bring a socket into.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
import unittest
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

MODULES = (
    "test.test_socket",
    "test.test_ssl",
    "test.test_threading",
    "test.test_queue",
    "test.test_httplib",
    "test.test_asyncio.test_events",
    "test.test_asyncio.test_selector_events",
    "test.test_asyncio.test_sock_lowlevel",
    "test.test_asyncio.test_streams",
    "test.test_asyncio.test_server",
    "test.test_asyncio.test_ssl",
    "test.test_asyncio.test_threads",
    "test.test_concurrent_futures",
)
QUICK = (
    "test.test_asyncio.test_sock_lowlevel",
    "test.test_asyncio.test_threads",
    "test.test_queue",
)
"""A few seconds each, for every run of the suite."""

PROCESSES = ("ProcessPool", "Multiprocess", "Fork")
"""In the names of tests that are about processes, which nothing of ours touches."""
PATIENCE = 45
"""Seconds without a test's end, after which the running one is cut off."""

Outcomes = dict[str, str]
"""Test id -> ``ok``, ``skipped``, ``failed``, ``expected``, ``unexpected`` or ``cut off``."""


def missing() -> str:
    """Why this interpreter cannot run them, an empty text if it can."""
    try:
        found = importlib.util.find_spec("test.test_socket")
    except ImportError:
        found = None
    return "" if found else "this interpreter comes without its own tests (the package test)"


def outcomes(module: str, patched: bool, faulty: bool = False) -> Outcomes:
    """Run one module in a process of its own; a test that hangs or kills it is cut off."""
    found: Outcomes = {}
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "outcomes"
        target.touch()
        command = [sys.executable, "-m", "tests.cpython.run", "--into", str(target)]
        command += ["--patched"] * patched + ["--faulty"] * faulty + [module]
        while True:
            code = watch(command, target)
            found |= dict(json.loads(line) for line in target.read_text().splitlines())
            running = [key for key, outcome in found.items() if outcome == "running"]
            if not running and code:
                raise RuntimeError(f"{module} did not run: its process ended with {code}")
            if not running:
                return found
            with target.open("a") as lines:
                for key in running:
                    lines.write(json.dumps([key, "cut off"]) + "\n")


def watch(command: list[str], target: Path) -> int:
    """Run ``command`` while ``target`` grows; its exit code."""
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    size, since = -1, time.monotonic()
    while child.poll() is None:
        if target.stat().st_size != size:
            size, since = target.stat().st_size, time.monotonic()
        elif time.monotonic() > since + PATIENCE:
            child.kill()
        time.sleep(0.05)
    return child.returncode


def different(without: Outcomes, with_patches: Outcomes) -> list[str]:
    """One line for each test whose outcome is not the same."""
    return [
        f"{key}: {without.get(key, 'not run')} without, {with_patches.get(key, 'not run')} with"
        for key in sorted(without.keys() | with_patches.keys())
        if without.get(key) != with_patches.get(key)
    ]


@cache
def bare(module: str) -> Outcomes:
    """The outcomes without patches, for all comparisons in this process."""
    return outcomes(module, False)


def compare(module: str, faulty: bool = False) -> tuple[Outcomes, list[str]]:
    """The outcomes without patches, and what differs with them.

    They mostly wait, so both run at once. What differs is run a second time, one after the other:
    some of these tests depend on the machine's load.
    """
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(bare, module)
        found = outcomes(module, True, faulty)
        without = first.result()
    if different(without, found):
        without, found = outcomes(module, False), outcomes(module, True, faulty)
    return without, different(without, found)


class _Result(unittest.TestResult):
    """Writes every outcome by id; a test with a failed subtest has failed."""

    target: Path

    def _note(self, test: unittest.TestCase, outcome: str) -> None:
        with self.target.open("a") as lines:
            lines.write(json.dumps([test.id(), outcome]) + "\n")

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self._bad = False
        self._note(test, "running")

    def addSuccess(self, test: unittest.TestCase) -> None:
        self._note(test, "failed" if self._bad else "ok")

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        self._note(test, "skipped")

    def addFailure(self, test, err) -> None:  # type: ignore[no-untyped-def]
        self._note(test, "failed")

    def addError(self, test, err) -> None:  # type: ignore[no-untyped-def]
        self._note(test, "failed")

    def addSubTest(self, test, subtest, err) -> None:  # type: ignore[no-untyped-def]
        if err is not None:
            self._bad = True
            self._note(test, "failed")

    def addExpectedFailure(self, test, err) -> None:  # type: ignore[no-untyped-def]
        self._note(test, "expected")

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:
        self._note(test, "unexpected")


def run(module: str, patched: bool, faulty: bool, target: Path) -> None:
    """Run what ``target`` does not list of ``module`` here; the patches stay."""
    from test import support

    support.use_resources = []  # nothing that needs the network or much memory
    known = {json.loads(line)[0] for line in target.read_text().splitlines()}
    suite = unittest.TestSuite()
    imported = importlib.import_module(module)
    for test in flat(unittest.defaultTestLoader.loadTestsFromModule(imported)):
        if test.id() not in known and not any(name in test.id() for name in PROCESSES):
            suite.addTest(test)
    if patched:
        install(faulty)
    _Result.target = target
    suite.run(_Result())


def flat(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from flat(test)
        else:
            yield test


FAULTY = (
    "adopt",
    "backend_of",
    "claim",
    "closed",
    "connection",
    "correct",
    "failed",
    "named",
    "opened",
    "reborn",
    "refused",
)
"""The ledger's methods that patches call."""


def install(faulty: bool = False) -> None:
    """Patch everything, and make everything that happens from here on a request's."""
    import logging

    from seism_middleware.ledger import Ledger
    from seism_middleware.patches import Patches
    from seism_middleware.traffic import Request, current

    class Everything(Ledger):
        def backend_of(self, address: object) -> str | None:
            return "any" if type(address) is tuple and len(address) >= 2 else None

    ledger = Everything()
    if faulty:
        for name in FAULTY:
            assert hasattr(ledger, name)
            setattr(ledger, name, _raise)
        # Its one line per place would be in the output that some tests look at.
        logging.getLogger("seism_middleware").disabled = True
        logging.getLogger("seism_middleware.guard").disabled = True
    patches = Patches(ledger)
    patches.install()
    assert patches.names
    current.set(Request("r", "GET", time.monotonic()))


def _raise(*_: object, **__: object) -> None:
    raise RuntimeError("planted")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", default=MODULES)
    parser.add_argument("--patched", action="store_true")
    parser.add_argument("--faulty", action="store_true", help="with a fault inside each patch")
    parser.add_argument("--into", type=Path)
    arguments = parser.parse_args()
    reason = missing()
    if reason:
        sys.exit(reason)
    if arguments.into:
        (module,) = arguments.modules
        run(module, arguments.patched, arguments.faulty, arguments.into)
        return
    wrong = 0
    for module in arguments.modules:
        if importlib.util.find_spec(module) is None:
            print(f"{module}: this interpreter comes without it", flush=True)
            continue
        without, found = compare(module, arguments.faulty)
        ran = sum(outcome != "skipped" for outcome in without.values())
        bad = sum(outcome in ("failed", "cut off") for outcome in without.values())
        print(f"{module}: {ran} run, {bad} fail without patches, {len(found)} differ with them")
        print(*(f"  {line}\n" for line in found), sep="", end="", flush=True)
        wrong += len(found)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
