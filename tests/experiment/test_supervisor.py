"""Whatever happens to the runner or to a child, nothing is left running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from seism.errors import ConfigurationError
from seism.experiment.supervisor import Supervisor, find_command, last_lines
from tests.processes import heed_interrupts

WAIT_S = 20.0

DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        with open(sys.argv[1], "w") as file:
            file.write(str(os.getpid()))
        time.sleep(600)
    os._exit(0)
{then}
"""
STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open(sys.argv[1], "w").write(str(os.getpid()))
time.sleep(600)
"""
RUNNER = """
import sys, time
from pathlib import Path
from seism.experiment.supervisor import Supervisor
log = Path(sys.argv[1])
with Supervisor() as supervisor:
    supervisor.spawn("child", [sys.executable, *sys.argv[2:]], log=log, grace_s=0.5,
                     scratch=log.parent / "scratch")
    time.sleep(600)
"""


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    with Supervisor() as one:
        yield one


def until(happened: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not happened():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


def written(path: Path) -> int:
    until(lambda: path.exists() and path.read_text())
    return int(path.read_text())


def gone(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def test_a_log_is_read_from_its_first_line(supervisor: Supervisor, tmp_path: Path) -> None:
    source = "print('first'); print(('x' * 99 + '\\n') * 2000)"
    supervisor.spawn("app", [sys.executable, "-c", source], log=tmp_path / "log")
    until(supervisor.exited)
    assert next(supervisor.log("app")) == "first"
    assert supervisor.tail("app", 10_000)[0] != "first"


@pytest.mark.parametrize("code", [0, 3, 127])
def test_exit_codes_pass(supervisor: Supervisor, tmp_path: Path, code: int) -> None:
    supervisor.spawn("app", [sys.executable, "-c", f"exit({code})"], log=tmp_path / "log")
    until(supervisor.exited)
    assert supervisor.exited() == ("app", code)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_the_signal_that_ended_a_child_passes(
    supervisor: Supervisor, tmp_path: Path, number: int
) -> None:
    source = f"import os; os.kill(os.getpid(), {number:d})"
    supervisor.spawn("app", [sys.executable, "-c", source], log=tmp_path / "log")
    until(supervisor.exited)
    assert supervisor.exited() == ("app", -number)


def test_output_goes_to_the_log_and_its_end_is_shown(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    source = "import sys\nfor n in range(50): print(n)\nsys.stdout.flush(); sys.exit('the end')"
    supervisor.spawn("app", [sys.executable, "-c", source], log=tmp_path / "log")
    until(supervisor.exited)
    assert supervisor.tail("app", 3) == ["48", "49", "the end"]


def test_pipes_are_the_childs(supervisor: Supervisor, tmp_path: Path) -> None:
    child = supervisor.spawn("load", ["cat"], log=tmp_path / "log", pipes=True)
    child.stdin.write(b"hello\n")
    child.stdin.flush()
    assert child.stdout.readline() == b"hello\n"
    child.stdin.close()
    assert child.stdout.read() == b""
    until(supervisor.exited)
    assert supervisor.exited() == ("load", 0)


def test_folder_and_environment(supervisor: Supervisor, tmp_path: Path) -> None:
    source = "import os; print(os.getcwd(), os.environ['A'])"
    env = {**os.environ, "A": "b"}
    argv = [sys.executable, "-c", source]
    supervisor.spawn("app", argv, log=tmp_path / "log", cwd=tmp_path, env=env)
    until(supervisor.exited)
    assert supervisor.tail("app") == [f"{tmp_path} b"]


def test_terminate_asks_first(supervisor: Supervisor, tmp_path: Path) -> None:
    source = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGINT, lambda *_: sys.exit(7))\n"
        "open(sys.argv[1], 'w').write('1')\n"
        "time.sleep(600)"
    )
    argv = [sys.executable, "-c", source, str(tmp_path / "up")]
    supervisor.spawn("app", argv, log=tmp_path / "log", stop=signal.SIGINT)
    written(tmp_path / "up")
    assert supervisor.terminate("app") == 7
    assert supervisor.exited() is None


def test_a_child_that_ignores_the_signal_is_killed(supervisor: Supervisor, tmp_path: Path) -> None:
    argv = [sys.executable, "-c", STUBBORN, str(tmp_path / "up")]
    supervisor.spawn("app", argv, log=tmp_path / "log", grace_s=0.1)
    written(tmp_path / "up")
    assert supervisor.terminate("app") == -signal.SIGKILL


def test_the_last_started_ends_first(tmp_path: Path) -> None:
    source = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(print(sys.argv[1], flush=True)))\n"
        "open(sys.argv[2], 'w').write('1')\n"
        "time.sleep(600)"
    )
    log = tmp_path / "log"
    with Supervisor() as supervisor:
        for name in ("sidecar", "app", "load"):
            up = tmp_path / name
            supervisor.spawn(name, [sys.executable, "-c", source, name, str(up)], log=log)
            written(up)
    assert log.read_text().split() == ["load", "app", "sidecar"]


def test_a_daemon_is_ended_with_its_supervisor(tmp_path: Path) -> None:
    """The command has left with code 0; what it left is the child now."""
    with Supervisor() as supervisor:
        source = DAEMON.format(then="")
        argv = [sys.executable, "-c", source, str(tmp_path / "pid")]
        supervisor.spawn("app", argv, log=tmp_path / "log")
        daemon = written(tmp_path / "pid")
        assert supervisor.exited() is None
    assert gone(daemon)


def test_a_crash_takes_what_was_left_with_it(supervisor: Supervisor, tmp_path: Path) -> None:
    source = DAEMON.format(
        then="while not os.path.exists(sys.argv[1]): time.sleep(0.01)\nsys.exit(5)"
    )
    argv = [sys.executable, "-c", source, str(tmp_path / "pid")]
    supervisor.spawn("app", argv, log=tmp_path / "log")
    daemon = written(tmp_path / "pid")
    until(supervisor.exited)
    assert supervisor.exited() == ("app", 5)
    assert gone(daemon)


@pytest.mark.parametrize("source", [DAEMON.format(then="time.sleep(600)"), STUBBORN])
def test_nothing_is_left_when_the_runner_is_killed(tmp_path: Path, source: str) -> None:
    up = tmp_path / "up"
    argv = [sys.executable, "-c", RUNNER, str(tmp_path / "log"), "-c", source, str(up)]
    with subprocess.Popen(argv) as runner:
        pid = written(up)
        below = psutil.Process(runner.pid).children(recursive=True)
        assert pid in {process.pid for process in below}
        (tmp_path / "scratch" / "copy").touch()
        runner.kill()
        runner.wait(10)
    until(lambda: all(gone(process.pid) for process in below))
    assert not (tmp_path / "scratch").exists()


def test_a_scratch_folder_is_there_as_long_as_the_child(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    scratch = tmp_path / "scratch"
    child = supervisor.spawn("app", ["cat"], log=tmp_path / "log", pipes=True, scratch=scratch)
    child.stdin.write(b"up\n")
    child.stdin.flush()
    assert child.stdout.readline() == b"up\n"
    assert scratch.stat().st_mode & 0o777 == 0o700
    (scratch / "copy").touch()
    supervisor.terminate("app")
    assert not scratch.exists()


def test_an_interrupt_of_the_runner_is_orderly(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", RUNNER, str(tmp_path / "log")]
    argv += ["-c", DAEMON.format(then="time.sleep(600)"), str(tmp_path / "pid")]
    with subprocess.Popen(argv, stderr=subprocess.DEVNULL, preexec_fn=heed_interrupts) as runner:
        written(tmp_path / "pid")
        below = psutil.Process(runner.pid).children(recursive=True)
        runner.send_signal(signal.SIGINT)
        runner.wait(WAIT_S)
    assert all(gone(process.pid) for process in below)


def test_a_command_that_does_not_exist_is_one_clear_line(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    for command in ("no-such-command", "./no-such-command", str(tmp_path)):
        with pytest.raises(ConfigurationError) as caught:
            supervisor.spawn("app", [command], log=tmp_path / "log", cwd=tmp_path)
        assert str(caught.value) == (f"the command {command!r} was not found, or is not executable")


def test_a_file_that_cannot_be_executed_says_so_in_the_log(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    supervisor.spawn("app", ["./script"], log=tmp_path / "log", cwd=tmp_path)
    until(supervisor.exited)
    assert supervisor.exited() == ("app", 127)
    assert supervisor.tail("app") == [f"{script}: No such file or directory"]


def test_bare_names_are_found_beside_the_interpreter_first(tmp_path: Path) -> None:
    fake = tmp_path / Path(sys.executable).name
    fake.write_text("#!/bin/sh\n")
    fake.chmod(0o755)
    env = {"PATH": str(tmp_path)}
    assert find_command(fake.name, None, env) == sys.executable
    other = tmp_path / "only-here"
    fake.rename(other)
    assert find_command("only-here", None, env) == str(other)


def test_the_program_of_an_active_environment_goes_before_our_own(tmp_path: Path) -> None:
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    program = bin_folder / Path(sys.executable).name
    program.symlink_to("/bin/true")
    (tmp_path / "pyvenv.cfg").touch()
    env = {"PATH": os.pathsep.join(("/usr/bin", str(bin_folder)))}
    assert find_command(program.name, None, env) == str(program)


NODE = """
node_modules/ioredis/built/redis/event_handler.js:182
        self.flushQueue(error);
             ^

MaxRetriesPerRequestError: Reached the max retries per request limit
    at Socket.<anonymous> (event_handler.js:182:37)
    at TCP.<anonymous> (node:net:343:12)

Node.js v20.20.2
"""


def test_the_last_lines_of_a_log_are_those_that_tell() -> None:
    assert last_lines(["a", "", "b", "c", "d"]) == ["b", "c", "d"]
    assert last_lines(NODE.splitlines())[-1].startswith("MaxRetriesPerRequestError: ")
