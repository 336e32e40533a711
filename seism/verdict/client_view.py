"""What the clients of the load got, joined with what the app did: id of the load -> observation.

The load gives each request an id (``contract.CLIENT_HEADER``), and the journal has what its client
saw. Once joined, the client's part is what counts: its status, and whether it had all of the
response. A request that no worker began is one, too: its route is that of its like.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace

from seism.journal import COMPLETE, CUT, LEFT, REFUSED, STALE, TIMED_OUT, ClientRequest
from seism_middleware.contract import (
    BODY_COMPLETE,
    BODY_NONE,
    BODY_TRUNCATED,
    RequestEnded,
)

When = Callable[[float], bool]
"""Whether something holds at a time, in the journal's seconds."""


@dataclass(frozen=True, slots=True)
class ClientAnswer(RequestEnded):
    """A request of the load: ``status`` and ``body`` are what its client got, the rest is what was
    observed.
    """

    sent: ClientRequest | None = None
    observed: RequestEnded | None = None
    """None: no worker ever began it."""


@dataclass(frozen=True, slots=True)
class Joined:
    """The requests of a journal, those of the load as their clients saw them."""

    requests: dict[str, RequestEnded]
    """By their ids; what no worker began is under the id that the load gave it."""
    outside: tuple[ClientRequest, ...] = ()
    """Requests of the load that never reached the app, for a reason of ours: they were sent into
    the close of a connection, what perturbed their clients' line took them, or their clients
    left."""


def joined(
    requests: Mapping[str, RequestEnded],
    clients: Iterable[ClientRequest],
    steady: When,
    front: When,
) -> Joined:
    """``steady`` is true in the control run, ``front`` while the clients' own line is perturbed:
    what they saw then is not an answer of the app.
    """
    clients = list(clients)
    observed = _by_client(requests.values())
    routes = _Routes(clients, observed, steady)
    result = dict(requests)
    outside = []
    for sent in clients:
        seen = observed.get(sent.request)
        ours = front(sent.at)
        lost = sent.outcome in (STALE, LEFT) or (ours and sent.outcome != COMPLETE)
        if seen is None and lost:
            outside.append(sent)
        elif seen is None:
            result[sent.request] = _unseen(sent, routes.of(sent))
        elif ours:
            result[seen.request] = replace(seen, route=routes.of(sent, seen))
        else:
            result[seen.request] = _answer(sent, seen, routes.of(sent, seen))
    return Joined(result, tuple(outside))


def unseen(request: RequestEnded) -> bool:
    """Whether it is known from its client alone."""
    return isinstance(request, ClientAnswer) and request.observed is None


def observations(requests: Iterable[RequestEnded]) -> list[RequestEnded]:
    """Those of ``requests`` that a worker began."""
    return [request for request in requests if not unseen(request)]


def took(request: RequestEnded) -> float:
    """Seconds until its client had the response, or the app had made it."""
    sent = request.sent if isinstance(request, ClientAnswer) else None
    return max(request.duration, sent.duration if sent is not None else 0.0)


def came(request: RequestEnded) -> float:
    """When its client sent it, if that is known, or the app began it, which may be long after."""
    sent = request.sent if isinstance(request, ClientAnswer) else None
    return min(request.began, sent.at) if sent is not None else request.began


def gave_up(request: RequestEnded) -> ClientRequest | None:
    """The request as it was sent, if its client gave up before it had the response."""
    sent = request.sent if isinstance(request, ClientAnswer) else None
    return sent if sent is not None and sent.outcome == TIMED_OUT else None


def left(request: RequestEnded) -> bool:
    """Whether its client left because it was to: nobody asks for its answer."""
    sent = sent_of(request)
    return sent is not None and sent.outcome == LEFT


def sent_of(request: RequestEnded) -> ClientRequest | None:
    """The request as its client sent it, and what came of it, if it is one of the load."""
    return request.sent if isinstance(request, ClientAnswer) else None


def target(request: RequestEnded) -> str:
    """Where the redirect leads that its client got; empty if it is none, or nobody knows."""
    sent = sent_of(request)
    return sent.target if sent is not None and sent.outcome == COMPLETE else ""


def has_response(request: RequestEnded) -> bool:
    """Whether its client got a response, or a part of one."""
    return request.body != BODY_NONE and request.status is not None


def unanswered(request: RequestEnded) -> str:
    """Why its client got no response, one line; empty if it got one."""
    if has_response(request):
        return ""
    sent = request.sent if isinstance(request, ClientAnswer) else None
    if sent is None:
        return "no response"
    seen = request.observed if isinstance(request, ClientAnswer) else None
    if sent.outcome == TIMED_OUT:
        patience = f"its client gave up after {sent.duration:.1f} s"
        if seen is None:
            return f"no response: {patience}, and no worker had begun it"
        answered = seen.status is not None and seen.body != BODY_NONE and not seen.exception
        return f"too late: {patience}" if answered else f"no response: {patience}"
    if sent.outcome == REFUSED:
        return "no response: the app accepted no connection"
    if seen is None:
        return "no response, and no worker began it"
    if seen.exception:
        return f"no response: {seen.exception} was raised"
    return "no response"


def _by_client(requests: Iterable[RequestEnded]) -> dict[str, RequestEnded]:
    """The load's id -> the outermost observation: an app may pass the header on to another."""
    found: dict[str, RequestEnded] = {}
    for request in requests:
        if request.client:
            known = found.get(request.client)
            if known is None or request.began < known.began:
                found[request.client] = request
    return found


class _Routes:
    """The pattern that each route of the load stands for, as the control run has shown it."""

    def __init__(
        self,
        clients: Sequence[ClientRequest],
        observed: Mapping[str, RequestEnded],
        steady: When,
    ) -> None:
        calm: dict[str, Counter[str]] = defaultdict(Counter)
        ever: dict[str, Counter[str]] = defaultdict(Counter)
        for sent in clients:
            seen = observed.get(sent.request)
            if seen is None:
                continue
            if seen.body != BODY_NONE and not seen.exception and (seen.status or 500) < 500:
                ever[sent.route][seen.route] += 1
                if steady(sent.at):
                    calm[sent.route][seen.route] += 1
        self._known = {**ever, **calm}

    def of(self, sent: ClientRequest, seen: RequestEnded | None = None) -> str:
        """The route of ``sent``: a failure before the routing loses it in what was ``seen``."""
        known = self._known.get(sent.route)
        if not known:
            path = sent.route.partition(" ")[2].partition("?")[0]
            return path if seen is None else seen.route
        if seen is not None and seen.route in known:
            return seen.route
        return known.most_common(1)[0][0]


def _unseen(sent: ClientRequest, route: str) -> ClientAnswer:
    status, body = _got(sent)
    method = sent.route.partition(" ")[0]
    return ClientAnswer(
        request=sent.request,
        method=method,
        route=route,
        began=sent.at,
        duration=sent.duration,
        status=status,
        body=body,
        client=sent.request,
        sent=sent,
    )


def _answer(sent: ClientRequest, seen: RequestEnded, route: str) -> ClientAnswer:
    values = {field.name: getattr(seen, field.name) for field in fields(RequestEnded)}
    status, body = _got(sent)
    if body == BODY_COMPLETE and seen.body == BODY_TRUNCATED and seen.status == status:
        body = BODY_TRUNCATED  # of a response that ends with its connection no client can tell
    values |= {"status": status, "body": body, "route": route}
    return ClientAnswer(**values, sent=sent, observed=seen)


def _got(sent: ClientRequest) -> tuple[int | None, str]:
    """(status, how the body ended), as ``RequestEnded`` has them."""
    if sent.outcome == COMPLETE:
        return sent.status, BODY_COMPLETE
    if sent.outcome == CUT:
        return sent.status, BODY_TRUNCATED
    return None, BODY_NONE
