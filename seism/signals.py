"""Every blinker signal of the sidecar, for whoever extends Seism.

A signal is sent after the record is in the journal and on its way to the observers;
nothing inside Seism depends on one. The sender is the ``Sidecar``, the payload the
keyword ``record``. Receivers run on the relay's event loop and must not block; one
that raises is logged, and the others still run.
"""

from __future__ import annotations

import logging
from typing import Any

from blinker import Namespace, Signal

log = logging.getLogger(__name__)

_namespace = Namespace()

perturbation_began: Signal = _namespace.signal(
    "perturbation-began", "a toxic takes effect; record: contract.PerturbationBegan"
)
perturbation_ended: Signal = _namespace.signal(
    "perturbation-ended", "its effect is over; record: contract.PerturbationEnded"
)
request_ended: Signal = _namespace.signal(
    "request-ended", "an observation arrived; record: contract.RequestEnded"
)
attribution_made: Signal = _namespace.signal(
    "attribution-made",
    "a worker attributed a perturbation to a request; record: contract.Attribution",
)
worker_joined: Signal = _namespace.signal(
    "worker-joined", "a worker of the app connected; record: contract.Hello"
)
worker_left: Signal = _namespace.signal(
    "worker-left", "its stream ended; record: journal.WorkerLeft"
)

BY_KIND: dict[str, Signal] = {
    "perturbation.began": perturbation_began,
    "perturbation.ended": perturbation_ended,
    "request.ended": request_ended,
    "attribution": attribution_made,
    "hello": worker_joined,
    "worker.left": worker_left,
}


def send(sender: object, record: Any) -> None:
    """Publish ``record`` on the signal of its kind, if it has one."""
    signal = BY_KIND.get(record.kind)
    if signal is None or not signal.receivers:
        return
    for receiver in list(signal.receivers_for(sender)):
        try:
            receiver(sender, record=record)
        except Exception:
            log.exception("a receiver of %s failed", record.kind)
