"""What goes wrong between two requests that use one connection, one after the other.

A pooled connection is handed on with the promise that everything asked on it has been
answered, and that every answer has been read. The kernel can tell whether that is so: it
counts the bytes that arrived and those that nobody has read. Where the promise is broken, a
reply to an earlier question is read by whoever asks next.

What is certain rests on order alone: bytes that had arrived, or that the backend had sent,
before a question was put to it do not answer that question. A request that took such bytes,
took nothing after them, and went on as if it had been answered, was answered with a reply to
an earlier question. Clients that read late replies and throw them away take more than that.
"""

from __future__ import annotations

import fcntl
import struct
import termios
from collections.abc import Callable, Iterator
from typing import Any

from seism_middleware.contract import LEDGER, Harm, PerturbationBegan, PerturbationEnded
from seism_middleware.traffic import Claim, Connection, Handover, Request

ABANDONED, CROSSTALK, SENTINEL = "abandoned", "crosstalk", "sentinel"
"""The kinds of ``Harm``."""

_NONE = bytes(4)
_COUNT = struct.Struct("@i").unpack


def unread(connection: Connection, sock: Any) -> int:
    """Bytes that have arrived on ``sock`` and that no client has asked for yet.

    Those in the kernel (FIONREAD, tcp(7)), and those that asyncio's stream reader holds.
    """
    try:
        waiting: int = _COUNT(fcntl.ioctl(connection.fd, termios.FIONREAD, _NONE))[0]
    except OSError:
        return 0
    transport = connection.transport and connection.transport()
    if transport is not None:
        reader = getattr(transport.get_protocol(), "_stream_reader", None)
        waiting += len(getattr(reader, "_buffer", b""))
    return waiting


def consumed(connection: Connection, sock: Any, received: Callable[[Any], int]) -> int:
    """Bytes of ``connection`` that have been read by now, or more, but never fewer.

    What is unread is looked at first: what arrives before the other look then counts as
    read. The other way round it would be taken off what had come before.
    """
    waiting = unread(connection, sock)
    return received(sock) - waiting


def handed_on(
    connection: Connection, claim: Claim, arrived: int, sock: Any, received: Callable[[Any], int]
) -> None:
    """``claim`` is about to follow the last one of ``connection``, which is another request's.

    ``arrived`` bytes had come before; ``received`` asks the kernel again.
    """
    if arrived < 0 or connection.source != LEDGER or connection.unpaired:
        return  # the kernel does not say, nobody knows when the question left, or it is none
    last = connection.claims[-1]
    waiting = unread(connection, sock)
    unanswered = arrived == last.arrived
    # Whoever took over a connection like that may have left it like that.
    if waiting or unanswered or last.handover is not None:
        late = last.outstanding or unanswered
        found = received(sock) - waiting if waiting else arrived
        claim.handover = Handover(found, last.request, late)
        if claim.request is not None:
            claim.request.borrowed.append((connection, claim))


def ended(request: Request, received: Callable[[Any], int]) -> Iterator[Harm]:
    """What is known of ``request`` when it ends; ``received`` asks the kernel."""
    for connection in request.sends:
        sock = connection.sock()
        last = connection.claims[-1] if connection.claims else None
        if sock is not None and last is not None and last.request is request:
            last.outstanding = connection.died is None and received(sock) == last.arrived
    for connection, claim in request.borrowed:
        sock, handover = connection.sock(), claim.handover
        if sock is None or handover is None or connection.died is not None:
            continue
        handover.consumed = consumed(connection, sock, received)
        handover.trusted = (request.status or 500) < 400 and not request.exception
        handover.certain = handover.trusted and not request.errors
        yield from _crosstalk(connection, claim, handover)


def perturbed(
    connection: Connection, began: PerturbationBegan, over: PerturbationEnded
) -> Iterator[Harm]:
    """What a perturbation that is over shows of the requests that used ``connection``."""
    connection.order += zip(over.asked, over.answers, strict=False)
    start = (began.offset or 0) if began.since is None else began.since
    for claim in connection.history():
        touched = start < claim.end and claim.offset < (over.offset or 0)
        if touched and claim.request and claim.outstanding and connection.died is None:
            yield Harm(
                ABANDONED, claim.request.id, True, connection.backend, connection.local,
                perturbation=began.perturbation,
            )  # fmt: skip
        if claim.handover is not None:
            yield from _crosstalk(connection, claim, claim.handover)


def _crosstalk(connection: Connection, claim: Claim, handover: Handover) -> Iterator[Harm]:
    """Whether the request of ``claim`` read the reply that was outstanding."""
    if claim.request is None or not handover.trusted or connection.opaque or handover.told:
        return
    # Where its own reply begins, or earlier.
    own = [answers for asked, answers in connection.order if asked <= claim.offset]
    if handover.consumed <= handover.found:
        return
    exact = handover.certain and handover.consumed <= max([claim.arrived, *own])
    # Where its own reply may have come as well, nobody knows what it read.
    leftover = handover.found < claim.arrived
    suspect = handover.borrowed and handover.late and (leftover or connection.order)
    if exact or (suspect and not handover.suspected):
        handover.told, handover.suspected = exact, True
        yield Harm(
            CROSSTALK, claim.request.id, exact, connection.backend, connection.local,
            handover.owed.id if handover.owed else "",
        )  # fmt: skip
