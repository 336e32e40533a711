"""``GET /seism/events``: the feed as server-sent events (WHATWG HTML, 9.2).

The data of an event is a record as the journal has it, its name the record's kind. The
first event, ``hello``, says where the reader stands, and by topic how many records were
``earlier`` than those that are kept; ``missed`` says what it will never get: a number by
topic, or null where that cannot be known, because the id that it sent is of another run.
An id is opaque; ``Last-Event-ID``, or the parameter of that name, goes on after it.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from dataclasses import dataclass

import gevent
from webob import Request, Response

from seism.errors import ConfigurationError, SeismError
from seism.journal import TOPICS
from seism.options import nearest, option
from seism.sidecar.control.router import Route, read_query
from seism.sidecar.feed import Feed, Places

MAX_READERS = 64
HEARTBEAT = 15.0
"""Seconds of silence after which a comment is sent, so that a gone reader is noticed."""
PATIENCE = 10.0
"""Seconds that one write may take before the reader is dropped; its ring goes on meanwhile."""
BATCH = 64
"""Records per write: what a slow reader makes us hold, beside its place."""


@dataclass(frozen=True, slots=True)
class EventsAsked:
    """Parameters of ``GET /seism/events``."""

    topics: str = option("perturbations", help=f"some of {', '.join(TOPICS)}, with commas")
    since: str = option("now", help="where to begin without an id", choices=("now", "start"))
    last_event_id: str = option("", help="as the header Last-Event-ID, for who cannot send that")


class Crowded(SeismError):
    """There are ``MAX_READERS`` readers already."""

    status = 503


def routes(feed: Feed) -> list[Route]:
    """The row, to be put into a Router."""

    def events(request: Request) -> Response:
        asked = read_query(EventsAsked, request)
        topics = _topics(asked.topics)
        if feed.readers >= MAX_READERS:
            raise Crowded(f"there are {MAX_READERS} readers already")
        return Response(
            app_iter=_events(feed, topics, *_begin(feed, asked, request)),
            content_type="text/event-stream",
            charset="utf-8",
            cache_control="no-store",
        )

    return [
        Route(
            "GET", "/seism/events", events, "Perturbations as they happen, as server-sent events",
            gives=str, content="text/event-stream", query=EventsAsked, errors=(503,),
        )
    ]  # fmt: skip


def _topics(text: str) -> frozenset[str]:
    topics = frozenset(part.strip() for part in text.split(","))
    for topic in sorted(topics - TOPICS.keys()):
        raise ConfigurationError(f"query.topics: unknown topic {topic!r}{nearest(topic, TOPICS)}")
    return topics


def _begin(feed: Feed, asked: EventsAsked, request: Request) -> tuple[Places, bool]:
    """Where to begin, and whether the reader was somewhere that we cannot know."""
    last = request.headers.get("Last-Event-ID") or asked.last_event_id
    if not last:
        return (feed.start() if asked.since == "start" else feed.end()), False
    known = feed.find(last)
    return (known, False) if known is not None else (feed.start(), True)


def _events(feed: Feed, topics: frozenset[str], places: Places, lost: bool) -> Iterator[bytes]:
    # The wait for the socket is in the server, which holds no more than one batch; this is
    # the error that it takes as "the client has gone".
    slow = BrokenPipeError(errno.EPIPE, "the reader does not read")
    wake = feed.attend()
    try:
        said = {"topics": sorted(topics), "earlier": feed.earlier(topics)}
        text = _event("hello", json.dumps(said), feed.name(places))
        if lost:
            text += _event("missed", "null", feed.name(places))
        while True:
            if text:
                # In force only while the server writes.
                with gevent.Timeout(PATIENCE, slow):
                    yield text.encode()
                # A write that finds room does not let anybody else run: control is first.
                gevent.sleep(0)
            text, places = _next(feed, topics, places)
            if not text:
                if feed.closed:
                    return
                wake.clear()
                text = "" if wake.wait(HEARTBEAT) else ": nothing new\n\n"
    finally:
        feed.leave(wake)


def _next(feed: Feed, topics: frozenset[str], places: Places) -> tuple[str, Places]:
    batch = feed.after(places, topics, BATCH)
    parts = []
    if batch.missed:
        parts.append(_event("missed", json.dumps(batch.missed), feed.name(batch.places)))
    for kept, place in batch.records:
        parts.append(_event(kept.record.kind, kept.json, feed.name(place)))
    return "".join(parts), batch.records[-1][1] if batch.records else batch.places


def _event(name: str, data: str, id: str) -> str:
    # JSON that is not indented has no line break, and so cannot break out of its line.
    return f"id: {id}\nevent: {name}\ndata: {data}\n\n"
