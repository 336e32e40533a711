"""Pools that keep the connections of a former primary, and pools that give them up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from seism.errors import ConfigurationError
from seism.experiment.config import Experiment
from seism.model import ToxicSpec
from seism.options import build
from seism.proxy.installed_toxic import InstalledToxic
from seism.registry import load
from tests.test_cli import PERTURBATION, Seism, cache, seism

__all__ = ["cache", "seism"]

RULES = """\
[rules]
recover_s = 1.5
error_log = false
"""
SWEPT = """\
[sweep]
repeat = 2
after = 4
pairs = 0
[[sweep.toxic]]
name = "failover"
type = "redis_readonly"
established = true
"""
PLANNED = """\
[[perturbation]]
name = "cache failover"
backend = "cache"
type = "redis_readonly"
established = true
"""


@pytest.mark.parametrize("command", ["run", "sweep"])
@pytest.mark.parametrize(("how", "colour"), [("followed", "green"), ("kept", "red")])
def test_a_pool_must_give_up_the_former_primary(
    seism: Seism, tmp_path: Path, how: str, colour: str, command: str
) -> None:
    changes = {
        "small_app": "failover_app",
        "/idle": "/",
        "env = {": f'env = {{ FAILOVER = "{how}",',
        'upstream = "${CACHE}"': 'upstream = "${CACHE}"\nprotocol = "redis"',
        PERTURBATION: PLANNED if command == "run" else "",
    }
    seism.experiment("/", more=RULES + (SWEPT if command == "sweep" else ""), **changes)
    done = seism.run(command)
    report = json.loads((tmp_path / "seism-report" / "report.json").read_text())
    assert report["matrix"] == {"GET /": {"cache failover": colour}}, done.err + done.out
    (cell,) = report["cells"]
    assert (colour == "red") == any("not recovered" in reason for reason in cell["reasons"])
    assert cell["exact"] > 0


@pytest.mark.parametrize("protocol", ["redis", "postgresql", "mysql"])
def test_it_is_swept_where_a_backend_has_a_standby(protocol: str) -> None:
    backend = {"name": "a", "upstream": "127.0.0.1:1", "protocol": protocol}
    other = {**backend, "name": "b", "failover": True}
    experiment = build(Experiment, {"backend": [backend, other]}, "file")
    (failover,) = [each for each in experiment.swept() if each.name == "failover"]
    assert failover.established
    assert experiment.fits(failover, "b") and not experiment.fits(failover, "a")
    alone = build(Experiment, {"backend": [backend]}, "file")
    assert all(each.name != "failover" for each in alone.swept())


def test_a_toxic_of_new_connections_has_no_established_ones() -> None:
    spec = ToxicSpec("refuse", established=True)
    with pytest.raises(ConfigurationError, match="established: refuse acts before there is one"):
        InstalledToxic.of(spec, load(), "toxic 'x'")
