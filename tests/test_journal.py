"""The journal: order, durability, damage."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seism import journal as journal_module
from seism.errors import ConfigurationError, Incomplete, Unavailable
from seism.journal import SCHEMA, Follower, Journal, Manifest, Missing, Phase, parse, read
from seism_middleware.contract import Attribution, RequestBegun

MANIFEST = Manifest(SCHEMA, "0", 7, "clock", "2026-01-01", ({"name": "db slow"},), {"a": 1})


def test_what_was_written_is_read_in_order(tmp_path: Path) -> None:
    path = tmp_path / "new" / "journal.jsonl"
    journal = Journal(path, MANIFEST, time.monotonic)
    records = [
        Phase("steady", 1.5),
        RequestBegun("w-1", "GET", 2.0, "/"),
        Attribution("p1", "w-1", "ledger", True, how="bytes"),
        Attribution("p1", None, "ledger", True),
    ]
    for number, record in enumerate(records, 1):
        journal.write(record, "w", number)
    journal.close()
    entries = list(read(path))
    assert [entry.record for entry in entries] == [MANIFEST_READ, *records]
    assert [entry.seq for entry in entries] == [1, 2, 3, 4, 5]
    assert [(entry.worker, entry.n) for entry in entries[1:]] == [("w", n) for n in (1, 2, 3, 4)]


# JSON has no tuples: what a manifest holds comes back as tuples of plain objects.
MANIFEST_READ = Manifest(SCHEMA, "0", 7, "clock", "2026-01-01", ({"name": "db slow"},), {"a": 1})


def test_sync_means_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path, MANIFEST, time.monotonic)
    for _ in range(5000):
        journal.write(Phase("steady", 1.0))
    assert journal.sync().wait(10)
    assert len(path.read_bytes().splitlines()) == 5001
    journal.close()


def test_a_killed_process_leaves_what_it_wrote(tmp_path: Path) -> None:
    """SIGKILL right after ``sync``: all of it is there and readable."""
    path = tmp_path / "journal.jsonl"
    code = (
        "import os, signal, sys, time, pathlib\n"
        "from seism.journal import *\n"
        "journal = Journal(pathlib.Path(sys.argv[1]),"
        " Manifest(SCHEMA, '0', 1, 'c', 'd'), time.monotonic)\n"
        "for n in range(1000): journal.write(Phase('steady', float(n)))\n"
        "journal.sync().wait()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=False, timeout=60)
    assert len(list(read(path))) == 1001


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path, MANIFEST, time.monotonic)
    journal.write(Missing(3))
    journal.close()
    whole = path.read_bytes()
    torn = whole[: len(whole) - 5]
    assert [e.record for e in parse(torn.splitlines(keepends=True))] == [MANIFEST_READ]
    damaged = [*torn.splitlines(keepends=True), b'{"seq":9}\n']
    assert [e.record for e in parse(damaged)] == [MANIFEST_READ, Missing(1)]


@given(st.binary(max_size=200))
def test_what_is_no_journal_is_said_in_one_line(data: bytes) -> None:
    if not data.strip():
        return
    with pytest.raises(ConfigurationError):
        list(parse(data.splitlines(keepends=True)))


def test_unknown_records_are_left_out() -> None:
    manifest = json.dumps({"seq": 1, "t": 0, "kind": "manifest", "schema": SCHEMA, "version": "",
                           "seed": 1, "clock": "", "started": ""}).encode()  # fmt: skip
    newer = json.dumps({"seq": 2, "t": 0, "kind": "from.the.future", "x": 1}).encode()
    assert len(list(parse([manifest, newer]))) == 1


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match=r"journal .*: (Not a directory|File exists)$"):
        Journal(tmp_path / "file" / "journal.jsonl", MANIFEST, time.monotonic)


def test_a_full_disk_is_not_silent() -> None:
    """/dev/full takes the open and refuses every write."""
    with pytest.raises(Incomplete, match="/dev/full: No space left on device; records lost: 1"):
        Journal(Path("/dev/full"), MANIFEST, time.monotonic)


def limited(path: Path, size: int, code: str) -> str:
    """What a process prints whose files may have ``size`` bytes: a disk that is full."""
    head = (
        "import pathlib, resource, signal, sys, time, logging\n"
        "from seism.errors import *\nfrom seism.journal import *\n"
        "logging.basicConfig(format='%(message)s', stream=sys.stdout)\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "def room(size): resource.setrlimit(resource.RLIMIT_FSIZE, (size, -1))\n"
        "manifest = Manifest(SCHEMA, '0', 1, 'c', 'd')\n"
        "journal = Journal(pathlib.Path(sys.argv[1]), manifest, time.monotonic)\n"
        f"room({size})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", head + code, str(path)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


FILL = """
for n in range(200):
    journal.write(Phase('steady', float(n)))
journal.sync().wait()
"""


@pytest.mark.parametrize("size", range(3000, 3090, 7))
def test_a_disk_that_fills_leaves_whole_lines_and_says_what_is_missing(
    tmp_path: Path, size: int
) -> None:
    path = tmp_path / "journal.jsonl"
    out = limited(path, size, FILL + "print(journal.lost)\n" + """
room(10**6)
journal.write(Phase('end', 9.0))
try:
    journal.close()
except Incomplete as error:
    print(error)
""")  # fmt: skip
    logged, lost, error = out.splitlines()
    assert "records are lost" in logged
    assert f"records lost: {lost}" in error
    lines = path.read_bytes().splitlines(keepends=True)
    assert all(json.loads(line) and line.endswith(b"\n") for line in lines)
    records = [entry.record for entry in read(path)]
    assert records[-2:] == [Missing(int(lost)), Phase("end", 9.0)]
    assert len(records) == 1 + 200 - int(lost) + 2


@pytest.mark.parametrize("size", [0, 64 * 1024])
def test_what_waits_for_the_disk_is_bounded_by_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """With the smallest and the largest line that a worker can send."""
    monkeypatch.setattr("seism.journal.MAX_QUEUED", 200_000)
    monkeypatch.setattr("seism.journal.BEHIND", 100_000)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    journal = Journal(pipe, MANIFEST, time.monotonic)
    written = 0
    text = "x" * size
    for number in range(2000):
        before = journal.lost
        journal.write(RequestBegun("w", "GET", 1.0, text), "w", number + 1, size)
        written += journal.lost == before
    assert journal.lost == 2000 - written > 0
    assert journal.behind
    os.set_blocking(reader, True)
    seen: list[bytes] = []

    def read_all() -> None:
        with open(reader, "rb") as file:
            seen.extend(file)

    drain = threading.Thread(target=read_all)
    drain.start()
    with pytest.raises(Incomplete, match="the disk is too slow"):
        journal.close()
    drain.join(30)
    assert len(seen) == written + 1


def entries(*lines: bytes) -> list[bytes]:
    manifest = json.dumps({"seq": 1, "t": 0, "kind": "manifest", "schema": SCHEMA, "version": "",
                           "seed": 1, "clock": "", "started": ""}).encode() + b"\n"  # fmt: skip
    return [manifest, *lines]


LINE = b'{"seq":%d,"t":1.0,"kind":"missing","count":0}\n'


@pytest.mark.parametrize(
    ("lines", "missing"),
    [
        ([LINE % 2, LINE % 3], 0),
        ([LINE % 2, LINE % 7], 4),
        ([b"\0" * 50 + b"\n", LINE % 3], 1),
        ([os.urandom(20).replace(b"\n", b"x") + b"\n", LINE % 2], 1),
        ([b"[" * 100_000 + b"\n", LINE % 3], 1),
        ([b'{"a":' * 100_000 + b"\n"], 1),
        ([LINE.replace(b"%d", b'"x"'), LINE % 3], 1),
        ([LINE.replace(b"1.0", b"null") % 2, LINE % 3], 1),
        ([LINE.replace(b"1.0", b"NaN") % 2, LINE % 3], 1),
        ([b'{"seq":2,"t":1,"kind":"attribution","perturbation":{},"request":"r"}\n', LINE % 3], 1),
        ([LINE % 2, b'{"seq":3,"t":1.0,"ki'], 0),
        ([LINE % 2, b"\xff\n", b"\xff\n", b"\xff"], 2),
    ],
)
def test_what_is_readable_is_read_and_the_rest_is_counted(lines: list[bytes], missing: int) -> None:
    records = [entry.record for entry in parse(entries(*lines))]
    assert sum(each.count for each in records if isinstance(each, Missing)) == missing


def test_a_schema_that_is_not_known() -> None:
    (manifest,) = entries()
    other = manifest.replace(b'"schema": 2', b'"schema": 99')
    with pytest.raises(ConfigurationError, match=r"unsupported journal format 99 \(supported: 2"):
        list(parse([other]))


def test_a_process_killed_at_any_moment_leaves_a_readable_journal(tmp_path: Path) -> None:
    """The journal begins with the first record and has no gap."""
    path = tmp_path / "journal.jsonl"
    code = (
        "import pathlib, sys, time\nfrom seism.journal import *\n"
        "journal = Journal(pathlib.Path(sys.argv[1]), Manifest(SCHEMA, '0', 1, 'c', 'd'),"
        " time.monotonic)\nprint('begun', flush=True)\n"
        "while True:\n"
        "    for n in range(50): journal.write(Phase('steady', float(n)))\n"
        "    time.sleep(0)\n"
    )
    for moment in range(20):
        child = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(moment * 0.003)
        child.kill()
        child.wait()
        child.stdout.close()
        assert not any(isinstance(entry.record, Missing) for entry in read(path))


def test_writing_never_waits_for_the_disk(tmp_path: Path) -> None:
    """A pipe that nobody reads stands for a disk that hangs."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    journal = Journal(pipe, MANIFEST, time.monotonic)
    for number in range(20_000):
        journal.write(Phase("steady", float(number)))
    assert not journal.sync().wait(0.05)
    os.set_blocking(reader, True)
    seen: list[bytes] = []

    def read_all() -> None:
        with open(reader, "rb") as file:
            seen.extend(file)

    drain = threading.Thread(target=read_all)
    drain.start()
    journal.close()
    drain.join(30)
    assert len(seen) == 20_001


def test_a_follower_parses_each_line_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often one looks, and wherever a line is torn when one does."""
    path = tmp_path / "journal.jsonl"
    journal = Journal(path, MANIFEST, time.monotonic)
    for number in range(50):
        journal.write(Phase("steady", float(number)))
    journal.close()
    whole = path.read_bytes()
    expected = list(read(path))
    parsed: list[bytes] = []
    loads = json.loads
    monkeypatch.setattr(
        journal_module.json, "loads", lambda line: (parsed.append(line), loads(line))[1]
    )
    path.write_bytes(b"")
    follower = Follower(path)
    for end in range(0, len(whole) + 1, 37):
        path.write_bytes(whole[:end])
        assert list(follower.entries()) == expected[: whole[:end].count(b"\n")]
    path.write_bytes(whole)
    assert list(follower.entries()) == expected
    assert len(parsed) == len(expected) == 51


def test_a_follower_says_what_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with pytest.raises(ConfigurationError, match="No such file"):
        Follower(path).entries()
    path.write_bytes(b"{}\n")
    with pytest.raises(ConfigurationError, match=r"journal\.jsonl:1: not a journal record"):
        Follower(path).entries()


def test_a_run_and_a_sweep_read_their_journal_through_the_follower() -> None:
    """Not from its beginning for every step."""
    folder = Path(journal_module.__file__).parent / "experiment"
    for name in ("runner", "sweep", "session"):
        assert "import read" not in (folder / f"{name}.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("schema", [SCHEMA - 1, SCHEMA + 1])
def test_a_journal_of_another_format_is_refused_in_one_line(tmp_path: Path, schema: int) -> None:
    path = tmp_path / "journal.jsonl"
    Journal(path, Manifest(schema, "9.9", 7, "clock", "2026-01-01"), time.monotonic).close()
    expected = f"{path}: unsupported journal format {schema} (supported: {SCHEMA}); Seism 9.9"
    for look in (lambda: list(read(path)), lambda: Follower(path).entries()):
        with pytest.raises(ConfigurationError, match=re.escape(expected)):
            look()
