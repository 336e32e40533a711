"""The signals that the middleware sends inside the app's process (blinker).

    from seism_middleware import signals

    def receiver(sender, record): ...

    signals.request_ended.connect(receiver)

The sender is the ``Observer``. A receiver that raises is logged and costs the others nothing.
blinker holds receivers weakly. It is imported when a signal is first asked for: without it
nothing can subscribe, and sending does nothing.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from blinker import Signal

    perturbation_began: Signal
    perturbation_ended: Signal
    attribution_made: Signal
    response_started: Signal
    request_ended: Signal

DECLARED = {
    "perturbation_began": (
        "A toxic took effect on some backend connection; ``record`` is the contract's "
        "PerturbationBegan. Sent by the stream's thread, in every worker."
    ),
    "perturbation_ended": (
        "An effect is over; ``record`` is the contract's PerturbationEnded. "
        "Sent by the stream's thread, in every worker."
    ),
    "attribution_made": (
        "A perturbation was attributed to a request; ``record`` is the contract's Attribution. "
        "Sent in the worker that served the request, by the stream's thread or the request's own."
    ),
    "response_started": (
        "The headers of a response are about to leave; ``record`` is the request's id. Sent by "
        "the request's own thread or task, in its context; again if the headers are replaced."
    ),
    "request_ended": (
        "A request is over; ``record`` is the contract's RequestEnded, as it was reported last. "
        "Sent once per request, after its response, by the thread that served it."
    ),
}

_signals: dict[str, Signal] = {}
_log = logging.getLogger(__name__)


def __getattr__(name: str) -> Any:
    if name not in DECLARED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name not in _signals:
        from blinker import Signal

        _signals.setdefault(name, Signal(DECLARED[name]))
    return _signals[name]


def send(name: str, sender: Any, record: Any) -> None:
    """Send the signal ``name`` to whoever subscribed; never raises an Exception."""
    signal = _signals.get(name)
    if signal is None or not signal.receivers:
        return
    for receiver in list(signal.receivers_for(sender)):
        try:
            receiver(sender, record=record)
        except Exception:
            _log.warning("a receiver of %s failed, its result is dropped", name, exc_info=True)
