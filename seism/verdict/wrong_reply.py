"""Replies that reached the wrong request, or nobody, as the workers have told of them.

Each finding is about one connection, and says how it is known.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import replace

from seism.verdict.result import ABANDONED, GREEN, MOST_NAMED, RED, WRONG, HarmFinding, listed
from seism.verdict.step import StepWindow
from seism.verdict.timeline import Timeline, worker_of
from seism_middleware.contract import Attribution, Harm


class WrongReplies:
    """Who got a reply that was not meant for it."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._of: dict[str, Harm] = {}
        for harm in timeline.harms:
            if harm.what != ABANDONED:
                known = self._of.get(harm.request)
                if known is None or (harm.exact and not known.exact):
                    self._of[harm.request] = harm

    def reason(self, request: str) -> str:
        """Why ``request`` got wrong data for certain, one line; empty if it did not."""
        harm = self._of.get(request)
        return describe(harm) if harm is not None and harm.exact else ""

    def attribution(self, request: str, records: Mapping[str, object]) -> Attribution | None:
        """To the perturbation, one of ``records``, that the wrong reply can be traced back to.

        The reply was that of another request, which may have been harmed in the same way.
        """
        harm = self._of.get(request)
        exact, seen = True, set()
        while harm is not None and harm.request not in seen:
            seen.add(harm.request)
            exact = exact and harm.exact
            attributions = self._timeline.attributions.get(harm.other, ())
            for attribution in sorted(attributions, key=lambda attribution: not attribution.exact):
                if attribution.perturbation in records:
                    exact = exact and attribution.exact
                    return Attribution(
                        attribution.perturbation, request, "ledger", exact, "harmed", "bytes"
                    )
            harm = self._of.get(harm.other)
        return None

    def findings(self, step: StepWindow) -> Iterator[HarmFinding]:
        """What became of the replies of one step, by connection."""
        mine = {request.request for request in step.requests}
        for rows in self._rows(mine):
            yield self._finding(step.name, step.records, rows)

    def findings_of_control(self) -> Iterator[HarmFinding]:
        """The same of the last control run; each names the perturbation that it can be traced
        back to, or none.
        """
        closing = self._timeline.find("control")
        mine = {request.request for request in closing.requests} if closing is not None else set()
        records = self._timeline.perturbations
        names = {target: step.name for step in self._timeline.plan for target in step.targets}
        for rows in self._rows(mine):
            found = self._finding("", records, rows)
            cause = records.get(found.hit_by)
            name = names.get((cause.proxy, cause.toxic), "") if cause is not None else ""
            yield replace(
                found,
                perturbation=name,
                what=f"{found.what}, in the control run after all perturbations",
                requests=tuple(row.request for row in rows),
            )

    def _rows(self, mine: Container[str]) -> Iterator[list[Harm]]:
        """What befell the requests that are ``mine``, by connection."""
        found: dict[tuple[str, str, str, bool], list[Harm]] = defaultdict(list)
        for harm in (*self._of.values(), *self._timeline.harms):
            if harm.request in mine and (harm.what == ABANDONED or self._of[harm.request] is harm):
                rows = found[harm.what, harm.backend, harm.local, harm.exact]
                if all(harm.request != row.request for row in rows):
                    rows.append(harm)
        yield from found.values()

    def _finding(
        self, name: str, records: Mapping[str, object], rows: Sequence[Harm]
    ) -> HarmFinding:
        """Of ``rows``, which differ in their requests alone, under the perturbation ``name``."""
        first = rows[0]
        ids = tuple(row.request for row in rows)
        cause = next(
            (attribution for key in ids if (attribution := self.attribution(key, records))),
            None,
        )
        hit_by = first.perturbation or (cause.perturbation if cause else "")
        kind = WRONG if first.what == "sentinel" else first.what
        return HarmFinding(
            kind=kind,
            perturbation=name,
            colour=RED if first.exact and first.what != ABANDONED else GREEN,
            what=_summary(kind, rows) + (f", since {hit_by}" if hit_by else ""),
            evidence="sentinel" if kind == WRONG else "ledger",
            exact=first.exact,
            backend=first.backend,
            worker=worker_of(ids[0]),
            connection=first.local,
            requests=ids[:MOST_NAMED],
            hit_by=hit_by,
        )


def describe(harm: Harm) -> str:
    """Why its request got wrong data, one line; of a harm that is not an abandoned reply."""
    of = f"of request {harm.other}" if harm.other else "of another user of the connection"
    if harm.what == "sentinel":
        return f"wrong data: a value came back that the app had marked as that {of}"
    return f"wrong data: it was answered with a reply to the question {of} ({_where(harm)})"


def _where(harm: Harm) -> str:
    return f"connection {harm.local} to {harm.backend}"


def _summary(kind: str, rows: Sequence[Harm]) -> str:
    ids = listed([row.request for row in rows])
    if kind == WRONG:
        return f"{ids} got values that the app had marked as another request's"
    if kind == ABANDONED:
        return (
            f"{ids} ended before the reply had come, and left {_where(rows[0])} open, "
            "with that reply outstanding"
        )
    sure = "" if rows[0].exact else "possibly "
    others = listed(sorted({row.other for row in rows if row.other})) or "no request's"
    return (
        f"{ids} {'were' if len(rows) > 1 else 'was'} {sure}answered with replies to earlier "
        f"questions, those of {others}, on {_where(rows[0])}"
    )
