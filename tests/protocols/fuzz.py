"""A coverage-guided fuzzer (atheris, libFuzzer) for every codec: ``make fuzz``.

    python -m tests.protocols.fuzz --seconds 120 http smtp

It begins with the samples that the tests have of a protocol, and looks for bytes with which a
codec raises anything but ProtocolError, holds too much, or loses, doubles or moves a byte:
``conformance.Heard`` checks all that. What it finds is written to the current folder.

An input is a list of chunks: a byte of flags (1: downstream, 2: the first exchange that begins
in it is taken out, 4 in the first one: without details), two of length, and the chunk.
"""

from __future__ import annotations

import argparse
import importlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from seism.errors import ProtocolError
from seism_middleware.contract import DOWNSTREAM, UPSTREAM
from tests.protocols.conformance import Conformance, Heard, Turns

PROTOCOLS = ("http", "ldap", "memcached", "mysql", "postgresql", "redis", "smtp")
LONGEST = 16 * 1024
"""Bytes of an input: samples that are longer are not begun with."""


def encoded(turns: Turns) -> bytes:
    """``turns`` as an input."""
    parts = []
    for stream, data in turns:
        for at in range(0, len(data), 0xFFFF):
            chunk = data[at : at + 0xFFFF]
            parts.append(bytes((stream == DOWNSTREAM,)) + len(chunk).to_bytes(2, "big") + chunk)
    return b"".join(parts)


def decoded(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(flags, chunk) of an input; the last chunk may be short."""
    while len(data) > 3:
        size = int.from_bytes(data[1:3], "big")
        if data[3 : 3 + size]:
            yield data[0], data[3 : 3 + size]
        data = data[3 + size :]


def suite(protocol: str) -> type[Conformance]:
    """The tests of a codec."""
    module = importlib.import_module(f"tests.protocols.test_{protocol}")
    return next(
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Conformance) and value is not Conformance
    )


def one(tests: type[Conformance], data: bytes) -> None:
    """Give one input to a new codec; whatever is wrong with what it does is raised."""
    listener = Heard(tests.codec())
    for number, (flags, chunk) in enumerate(decoded(data)):
        if not number and flags & 4:
            listener.codec.detail = False
        if flags & 1:
            listener.hear(DOWNSTREAM, chunk)
        elif not flags & 2:
            listener.hear(UPSTREAM, chunk)
        elif not listener.error and not listener.codec.opaque:
            _skip(listener, chunk)
    listener.end(UPSTREAM)
    listener.end(DOWNSTREAM)


def _skip(listener: Heard, chunk: bytes) -> None:
    """The first exchange that begins in ``chunk`` does not reach the server."""
    skipped = False
    try:
        for piece in listener.feed(UPSTREAM, chunk):
            exchange = piece.exchange
            fits = exchange and exchange.replies and exchange.phase == "command"
            if exchange and fits and piece.first and not skipped:
                listener.codec.skip(exchange)
                skipped = True
    except ProtocolError as error:
        listener.error = str(error)


def work(protocol: str, corpus: str, seconds: int) -> None:
    """Fuzz in this process, which ends with it."""
    import atheris

    with atheris.instrument_imports(include=["seism.protocols"]):
        importlib.import_module(f"seism.protocols.{protocol}")
    tests = suite(protocol)
    atheris.Setup(
        [sys.argv[0], corpus, f"-max_total_time={seconds}", f"-max_len={LONGEST}",
         "-print_final_stats=1", "-timeout=20", f"-artifact_prefix={protocol}-"],
        lambda data: one(tests, data),
    )  # fmt: skip
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("protocols", nargs="*", default=PROTOCOLS)
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--corpus", help="made by the program that starts this one")
    given = parser.parse_args()
    if given.corpus:
        work(given.protocols[0], given.corpus, given.seconds)
    failed = 0
    print("| protocol | inputs | edges covered | found |\n|---|---|---|---|")
    for protocol in given.protocols:
        with tempfile.TemporaryDirectory() as corpus:
            for number, sample in enumerate(suite(protocol).samples):
                data = encoded(sample.turns)
                if len(data) <= LONGEST:
                    (Path(corpus) / str(number)).write_bytes(data)
            command = [sys.executable, "-m", "tests.protocols.fuzz", protocol]
            done = subprocess.run(
                [*command, "--corpus", corpus, "--seconds", str(given.seconds)],
                capture_output=True, text=True, check=False, timeout=given.seconds + 120,
            )  # fmt: skip
        runs = re.findall(r"number_of_executed_units: +(\d+)", done.stderr)
        edges = re.findall(r"cov: (\d+)", done.stderr)
        failed += done.returncode != 0
        print(f"| {protocol} | {int(runs[-1]) if runs else 0:,} | {edges[-1] if edges else '?'} |"
              f" {'nothing' if not done.returncode else 'a failure'} |", flush=True)  # fmt: skip
        if done.returncode:
            print(done.stdout[-4000:], done.stderr[-6000:], sep="\n", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
