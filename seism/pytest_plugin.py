"""The pytest plug-in. It does nothing in tests that use neither its fixtures nor its marker.

Fixtures: ``seism_sidecar`` (of the session; with xdist of each worker), ``seism_proxy``
(makes proxies that last as long as the test) and ``seism_experiment``. Marker::

    @pytest.mark.seism(fired=["db"], quiet=["cache"])

expects that something on ``db`` had an effect during the test, and nothing on ``cache``.
A test that fails shows what the sidecar saw in its time.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from seism.client import Proxy
    from seism.testing.sidecar import Running
    from seism.verdict.result import Judgement

FILE = "seism.toml"
MARKER = "seism"
_KEYS = ("fired", "quiet")
_SEEN = pytest.StashKey[tuple[Any, int]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("seism")
    group.addoption(
        "--seism",
        nargs="?",
        const=FILE,
        metavar="FILE",
        help="run each test under perturbations of the backends in FILE (default: seism.toml), and "
        "judge its requests",
    )
    group.addoption(
        "--seism-budget",
        type=float,
        default=300.0,
        metavar="SECONDS",
        help="maximum time of --seism (default: 300)",
    )
    group.addoption(
        "--seism-report-dir",
        default="seism-report",
        metavar="FOLDER",
        help="where --seism writes its reports (default: seism-report)",
    )
    group.addoption(
        "--seism-allow",
        action="append",
        default=[],
        metavar="NAME",
        help="perturb this backend although it looks like production; repeatable",
    )
    group.addoption("--seism-worker", help=argparse.SUPPRESS)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """``--seism``: this process leads, and runs the tests in others."""
    if config.option.seism is None or config.option.help:
        return None
    from _pytest._io import TerminalWriter

    from seism.errors import SeismError
    from seism.testing.suite import run

    arguments = [*without_own(config.invocation_params.args), *in_order(config)]
    option = config.option
    file = option.seism if is_file(option.seism) else FILE
    folder = Path(option.seism_report_dir)
    say = TerminalWriter().line
    try:
        return run(Path(file), arguments, option.seism_budget, folder, say, option.seism_allow)
    except SeismError as error:
        raise pytest.UsageError(f"seism: {error}") from None
    except KeyboardInterrupt:
        say("seism: interrupted before anything was perturbed")
        return pytest.ExitCode.INTERRUPTED


def without_own(arguments: Iterable[str]) -> list[str]:
    """pytest's arguments for a worker: without those of ``--seism``."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--seism", nargs="?")
    parser.add_argument("--seism-budget")
    parser.add_argument("--seism-report-dir")
    parser.add_argument("--seism-allow")
    own, rest = parser.parse_known_args(list(map(str, arguments)))
    return rest if own.seism is None or is_file(own.seism) else [*rest, own.seism]


def is_file(value: str) -> bool:
    """Whether what follows ``--seism`` is its file, and not an argument of pytest's."""
    return value.endswith((".toml", ".json"))


def in_order(config: pytest.Config) -> list[str]:
    """Arguments that keep installed plug-ins from doing what a worker does itself."""
    there = config.pluginmanager.has_plugin
    found: list[str] = []
    if there("xdist"):
        found += ["-n", "0", "--dist", "no"]
    if there("randomly"):
        found += ["--randomly-dont-reorganize"]
    if there("_cov") or there("pytest_cov"):
        found += ["--no-cov"]
    return found


def pytest_configure(config: pytest.Config) -> None:
    if config.option.seism_worker:
        from seism.testing.probe import Probe

        order = json.loads(Path(config.option.seism_worker).read_text(encoding="utf-8"))
        config.pluginmanager.register(Probe(config, order), "seism-probe")
    config.addinivalue_line(
        "markers",
        "seism(fired=[proxy, ...], quiet=[proxy, ...]): what must, and must not, be perturbed",
    )


@pytest.fixture(scope="session")
def seism_sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A sidecar of this session's (of this xdist worker's) own, as its client."""
    from seism.testing.sidecar import sidecar

    with sidecar(tmp_path_factory.mktemp("seism")) as running:
        yield running


@pytest.fixture
def seism_proxy(
    request: pytest.FixtureRequest, seism_sidecar: Running
) -> Iterator[Callable[..., Proxy]]:
    """``seism_proxy(name, upstream, **values)``: a proxy until the test ends."""
    with ExitStack() as stack:

        def make(name: str, upstream: str, **values: Any) -> Proxy:
            return stack.enter_context(seism_sidecar.created(name, upstream, **values))

        yield make


@pytest.fixture
def seism_experiment(tmp_path: Path) -> Callable[..., Judgement]:
    """``seism_experiment(file, perturbations=(), seed=None, environ=None)``: runs the
    experiment in ``file`` and gives its judgement; see ``seism.testing.experiment``.
    """
    from seism.testing.sidecar import experiment

    def run(
        file: Path | str,
        perturbations: Iterable[Mapping[str, Any]] = (),
        *,
        seed: int | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> Judgement:
        return experiment(
            file, perturbations, folder=tmp_path / "seism", seed=seed, environ=environ
        )

    return run


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    marker = item.get_closest_marker(MARKER)
    if marker is not None and (marker.args or set(marker.kwargs) - set(_KEYS)):
        raise pytest.UsageError(f"{item.nodeid}: the marker seism takes {' and '.join(_KEYS)}")
    running = getattr(item, "funcargs", {}).get("seism_sidecar")
    if running is None:
        if marker is not None:
            raise pytest.UsageError(
                f"{item.nodeid}: the marker seism needs the fixture seism_sidecar or seism_proxy"
            )
        return (yield)
    from seism.testing.assertion import assert_fired

    records = running.records()
    seen = records[-1].seq if records else 0
    item.stash[_SEEN] = running, seen
    result = yield
    if marker is not None:
        records = running.records(seen)
        for key in _KEYS:
            for proxy in marker.kwargs.get(key, ()):
                assert_fired(records, proxy, fired=key == "fired")
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call" and report.failed and _SEEN in item.stash:
        from seism.errors import SeismError
        from seism.testing.assertion import timeline

        running, seen = item.stash[_SEEN]
        try:
            lines = timeline(running.records(seen))
        except SeismError as error:
            lines = [str(error)]
        report.sections.append(("seism timeline", "\n".join(lines) or "nothing was perturbed"))
    return report
