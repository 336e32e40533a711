"""A client of the control API; stdlib only."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import quote

from seism.errors import ConfigurationError, Conflict, NotFound, SeismError, Unavailable

_ERRORS: dict[int, type[SeismError]] = {400: ConfigurationError, 404: NotFound, 409: Conflict}


class Control:
    """Talks to one sidecar.

    ``timeout`` is seconds for one call. Raises Unavailable if the sidecar cannot be
    reached, and the error that the API's status stands for if it says no.
    """

    def __init__(self, host: str, port: int, token: str = "", timeout: float = 10) -> None:
        self.host = host
        self.port = port
        self._timeout = timeout
        self._headers = {"Content-Type": "application/json"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One request; the decoded JSON of the answer, None where there is none."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=self._timeout)
        try:
            connection.request(
                method, path, None if body is None else json.dumps(body), self._headers
            )
            response = connection.getresponse()
            data = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(
                f"the sidecar at {self.host}:{self.port} does not answer: {error or 'no reply'}"
            ) from None
        finally:
            connection.close()
        answer = json.loads(data) if data else None
        if response.status >= 400:
            message = answer.get("error", "") if isinstance(answer, dict) else ""
            kind = _ERRORS.get(response.status, SeismError)
            raise kind(message or f"{method} {path}: {response.status}")
        return answer

    def proxies(self) -> dict[str, Any]:
        """All proxies by name, as the API shows them."""
        found: dict[str, Any] = self.call("GET", "/proxies")
        return found

    def add_toxic(self, proxy: str, toxic: dict[str, Any]) -> None:
        self.call("POST", f"/proxies/{quote(proxy, safe='')}/toxics", toxic)

    def remove_toxic(self, proxy: str, name: str) -> None:
        self.call("DELETE", f"/proxies/{quote(proxy, safe='')}/toxics/{quote(name, safe='')}")

    def enable(self, proxy: str, enabled: bool) -> None:
        self.call("POST", f"/proxies/{quote(proxy, safe='')}", {"enabled": enabled})

    def phase(self, phase: str, step: int | None = None, name: str = "") -> None:
        """Mark in the journal where a phase begins."""
        self.call("POST", "/seism/phase", {"phase": phase, "step": step, "name": name})

    def load_done(self, segment: str, requests: int, routes: dict[str, Any]) -> None:
        """Journal what the load generator saw."""
        self.call(
            "POST", "/seism/load", {"segment": segment, "requests": requests, "routes": routes}
        )

    def census(self) -> None:
        """Have every worker list its open connections, into the journal."""
        self.call("POST", "/seism/census", {})
