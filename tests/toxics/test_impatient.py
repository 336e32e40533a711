"""As ``late``, with a share of the clients, which only a run has."""

from __future__ import annotations

import pytest

from seism.errors import ConfigurationError
from seism.experiment.config import Experiment
from seism.options import build
from seism.toxics.base import Began, Chunk, Ended, Forward, Wake
from seism.toxics.impatient import Impatient
from tests.toxics.conversation import Conversation

BACKEND = {"name": "db", "upstream": "127.0.0.1:1"}
PLANNED = {"name": "db impatient", "backend": "db", "type": "impatient", "stream": "downstream"}


def test_a_reply_is_late() -> None:
    talk = Conversation(Impatient(delay=250, jitter=0))
    assert talk.data(b"a", at=1) == [Began(0), Wake(1.25)]
    assert talk.due(at=1.25) == [Forward(Chunk(b"a", 0)), Ended("passed")]


@pytest.mark.parametrize(
    "load",
    [
        {"request_ids": False, "route": [{"path": "/"}]},
        {"locust": {"file": "locustfile.py"}},
    ],
)
def test_it_needs_clients_that_can_be_told_to_leave(load: dict[str, object]) -> None:
    file = {"backend": [BACKEND], "load": load}
    experiment = build(Experiment, file, "file")
    assert "impatient" not in {each.type for each in experiment.planned()}
    assert "impatient" not in {each.type for each in experiment.swept()}
    with pytest.raises(ConfigurationError, match=r"'db impatient': impatient needs the load of"):
        build(Experiment, {**file, "perturbation": [PLANNED]}, "file")
