"""One call of the control API at a time, and what an experiment tells the sidecar."""

from __future__ import annotations

import http.client
import json
import select
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlencode

from seism.client.lease import HEADER, Lease
from seism.errors import (
    ConfigurationError,
    Conflict,
    Incomplete,
    NotFound,
    SeismError,
    Unavailable,
)

_BATCH = 1000
"""Requests in one call: less than the API's limit of a body."""
_ERRORS: dict[int, type[SeismError]] = {
    400: ConfigurationError,
    404: NotFound,
    409: Conflict,
    507: Incomplete,
}


class Control:
    """Talks to one sidecar. Threads may share it.

    ``timeout`` is seconds for one call. Raises Unavailable if the sidecar cannot be
    reached, and the error that the API's status stands for if it says no.
    """

    def __init__(
        self, host: str, port: int, token: str = "", timeout: float = 10, *,
        keep_alive: bool = False,
    ) -> None:  # fmt: skip
        """``keep_alive`` keeps connections for the next call, until ``close``."""
        self.host = host
        self.port = port
        self._timeout = timeout
        self._keep_alive = keep_alive
        self._idle: list[http.client.HTTPConnection] = []
        self.headers = {"Content-Type": "application/json"}
        self._lease: Lease | None = None
        if token:
            self.headers["Authorization"] = f"Bearer {token}"

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One request; the decoded JSON of the answer, None where there is none."""
        data = None if body is None else json.dumps(body)
        connection = self._connection()
        keep = False
        try:
            connection.request(method, path, data, self.headers)
            response = connection.getresponse()
            answered = response.read()
            keep = self._keep_alive and not response.will_close
        except (OSError, http.client.HTTPException) as error:
            raise self.away(error) from None
        finally:
            if keep:
                self._idle.append(connection)
            else:
                connection.close()
        if response.status >= 400:
            raise refusal(response.status, answered, f"{method} {path}")
        try:
            return json.loads(answered) if answered else None
        except ValueError:
            raise Unavailable(f"what answers at {self.host}:{self.port} is no sidecar") from None

    def lease(self, seconds: float) -> None:
        """From now on toxics and outages are under a lease: should this process vanish, they
        are undone within ``seconds``. A thread renews it until ``release``.
        """
        granted = self.call("POST", "/seism/leases", {"seconds": seconds})
        self._lease = Lease(self.call, granted["lease"], seconds)
        self.headers[HEADER] = self._lease.name

    def release(self) -> None:
        """Give the lease back, if there is one: what was done under it is undone."""
        lease = self._stop_renewing()
        if lease is not None:
            try:
                self.call("DELETE", f"/seism/leases/{lease.name}")
            except NotFound:
                pass  # it had run out, which undoes as much

    def _stop_renewing(self) -> Lease | None:
        lease, self._lease = self._lease, None
        if lease is not None:
            lease.end()
            del self.headers[HEADER]
        return lease

    def close(self) -> None:
        """Close what ``keep_alive`` has kept, and stop renewing a lease; the next call
        connects again.
        """
        self._stop_renewing()
        while self._idle:
            self._idle.pop().close()

    def away(self, error: Exception) -> Unavailable:
        """What to raise for a sidecar that could not be talked to."""
        return Unavailable(
            f"the sidecar at {self.host}:{self.port} does not answer: {error or 'no reply'}"
        )

    def _connection(self) -> http.client.HTTPConnection:
        while self._idle:
            try:
                kept = self._idle.pop()
            except IndexError:  # another thread took it
                break
            if not _ended(kept):
                return kept
            kept.close()
        return http.client.HTTPConnection(self.host, self.port, timeout=self._timeout)

    def proxies(self) -> dict[str, Any]:
        """All proxies by name, as the API shows them."""
        found: dict[str, Any] = self.call("GET", "/proxies")
        return found

    def add_toxic(self, proxy: str, toxic: dict[str, Any]) -> None:
        self.call("POST", f"{proxy_path(proxy)}/toxics", toxic)

    def remove_toxic(self, proxy: str, name: str) -> None:
        self.call("DELETE", toxic_path(proxy, name))

    def awaits(self, proxy: str, toxic: str) -> bool:
        """Whether ``toxic``, one of established connections, has yet to act on one of them."""
        shown = self.call("GET", f"/seism/connections?{urlencode({'proxy': proxy})}")
        return any(toxic in each["toxics"] for each in shown["connections"])

    def enable(self, proxy: str, enabled: bool) -> None:
        self.call("POST", proxy_path(proxy), {"enabled": enabled})

    def phase(
        self, phase: str, step: int | None = None, name: str = "", *,
        active: Sequence[int] = (), flowing: bool = False,
    ) -> None:  # fmt: skip
        """Mark in the journal where a phase begins; see ``journal.Phase``."""
        values = {"phase": phase, "step": step, "name": name}
        self.call("POST", "/seism/phase", {**values, "active": [*active], "flowing": flowing})

    def app_ended(
        self, step: int, code: int | None, said: Sequence[str], process: str = ""
    ) -> None:
        """Journal that the app has ended, or did not come back (``code`` is None).

        ``process`` is the name of the worker that it was, if it was one.
        """
        told = {"step": step, "code": code, "said": list(said), "process": process}
        self.call("POST", "/seism/app-ended", told)

    def diagnosis(self, findings: Sequence[str]) -> None:
        """Journal what the doctor found."""
        self.call("POST", "/seism/diagnosis", {"findings": list(findings)})

    def stopped(self, why: str) -> None:
        """Journal that the run stops before its plan is done."""
        self.call("POST", "/seism/stopped", {"why": why})

    def plan(self, steps: list[dict[str, Any]]) -> None:
        """Journal the plan, where it is not that of the sidecar's file."""
        self.call("POST", "/seism/plan", {"steps": steps})

    def load_done(
        self, segment: str, requests: int, routes: dict[str, Any],
        actions: dict[str, Any] | None = None, *, whole: bool = False,
        logins: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """Journal what the load generator saw; see ``journal.LoadDone``."""
        done = {"segment": segment, "requests": requests, "routes": routes, "whole": whole}
        more = {"actions": actions, "logins": logins}
        done |= {key: value for key, value in more.items() if value}
        self.call("POST", "/seism/load", done)

    def clients(self, requests: Sequence[Sequence[Any]]) -> None:
        """Journal what the load's clients saw: the fields of records ``journal.ClientRequest``."""
        batch: list[Sequence[Any]] = []
        size = 0
        for row in requests:
            batch.append(row)
            # The last field, if there is one, may hold many parts of a content.
            size += 1 + (len(row[-1]) if isinstance(row[-1], dict) else 0)
            if size >= _BATCH:
                self.call("POST", "/seism/clients", {"requests": batch})
                batch, size = [], 0
        if batch:
            self.call("POST", "/seism/clients", {"requests": batch})

    def census(self) -> None:
        """Have every worker list its open connections, into the journal."""
        self.call("POST", "/seism/census", {})


def proxy_path(proxy: str) -> str:
    return f"/proxies/{quote(proxy, safe='')}"


def toxic_path(proxy: str, toxic: str) -> str:
    return f"{proxy_path(proxy)}/toxics/{quote(toxic, safe='')}"


def refusal(status: int, body: bytes, asked: str) -> SeismError:
    """The error that an answer's ``status`` stands for, with the sidecar's own words."""
    try:
        values = json.loads(body)
    except ValueError:
        values = None
    message = values.get("error", "") if isinstance(values, dict) else ""
    return _ERRORS.get(status, SeismError)(message or f"{asked}: {status}")


def _ended(connection: http.client.HTTPConnection) -> bool:
    """Whether the server has closed an idle connection: nothing else makes it readable."""
    if connection.sock is None:
        return True
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    return bool(poll.poll(0))
