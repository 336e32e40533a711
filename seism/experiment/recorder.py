"""A server before an app that records what a browser asks, for ``seism init --record``.

The entries are those of a browser's own recording (HAR 1.2), without a file: credentials that are
typed stay in this process.
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any

from webob import Request

HOST = "127.0.0.1"
TIMEOUT_S = 120.0
"""How long the app may take for an answer."""
MOST_REQUESTS, MOST_BYTES = 2000, 1024 * 1024
"""How many requests are kept, and how much of each body."""
OWN_HEADERS = frozenset(
    "connection keep-alive proxy-connection transfer-encoding upgrade te trailer".split()
)
"""Headers of one connection (RFC 9110, 7.6.1), which are not passed on."""

Entry = dict[str, Any]


class Recorder:
    """Passes requests on to the app at ``port``, and keeps them and their answers."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.entries: list[Entry] = []
        """Of HAR's log, in the order in which they were answered."""

    @contextmanager
    def listening(self) -> Iterator[str]:
        """Its URL, as long as the block runs."""
        handler = type("_Bound", (_Handler,), {"recorder": self})
        with ThreadingHTTPServer((HOST, 0), handler) as server:
            server.daemon_threads = True
            server.block_on_close = False
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            try:
                yield f"http://{HOST}:{server.server_port}"
            finally:
                server.shutdown()
                thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    recorder: Recorder

    def handle(self) -> None:
        with suppress(ConnectionError):  # a browser leaves when it likes
            super().handle()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._pass_on
        raise AttributeError(name)

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        # A compressed body would not be legible.
        sent = [*_passed(self.headers.items(), "accept-encoding"), ("Accept-Encoding", "identity")]
        app = http.client.HTTPConnection(HOST, self.recorder.port, timeout=TIMEOUT_S)
        with closing(app):
            try:
                app.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in sent:
                    app.putheader(name, value)
                app.endheaders(body or None)
                answer = app.getresponse()
            except (OSError, http.client.HTTPException) as error:
                self.send_error(502, explain=f"The app did not answer: {error!r}")
                return
            kept = self._answer(answer)
        if len(self.recorder.entries) < MOST_REQUESTS:
            self.recorder.entries.append(_entry(self, sent, body, answer, kept))

    def _answer(self, answer: http.client.HTTPResponse) -> bytes:
        """Pass it on as it comes; the result is what is kept of its body."""
        self.send_response_only(answer.status, answer.reason)
        for name, value in _passed(answer.getheaders()):
            self.send_header(name, value)
        # Its end is the connection's: of a stream, nobody knows the length.
        self.send_header("Connection", "close")
        self.end_headers()
        kept = b""
        with suppress(OSError, http.client.HTTPException):  # either side may leave
            while part := answer.read1(64 * 1024):
                kept += part[: MOST_BYTES - len(kept)]
                self.wfile.write(part)
        return kept

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _passed(headers: Iterable[tuple[str, str]], *without: str) -> list[tuple[str, str]]:
    return [(k, v) for k, v in headers if k.lower() not in OWN_HEADERS.union(without)]


def _entry(
    asked: _Handler,
    sent: list[tuple[str, str]],
    body: bytes,
    answer: http.client.HTTPResponse,
    kept: bytes,
) -> Entry:
    request: Entry = {
        "method": asked.command,
        "url": f"http://{HOST}:{asked.recorder.port}{asked.path}",
        "headers": [{"name": name, "value": value} for name, value in sent],
    }
    if body:
        request["postData"] = _posted(asked.headers.get("Content-Type", ""), body[:MOST_BYTES])
    content = {
        "mimeType": answer.headers.get("Content-Type", ""),
        "text": kept.decode(errors="replace"),
    }
    headers = [{"name": name, "value": value} for name, value in answer.getheaders()]
    return {
        "request": request,
        "response": {"status": answer.status, "headers": headers, "content": content},
    }


def _posted(type_: str, body: bytes) -> Entry:
    if type_.startswith("multipart/"):
        environ = {"REQUEST_METHOD": "POST", "CONTENT_TYPE": type_, "wsgi.input": BytesIO(body)}
        with suppress(ValueError):
            fields = Request({**environ, "CONTENT_LENGTH": str(len(body))}).POST.items()
            texts = [{"name": name, "value": text} for name, text in fields if type(text) is str]
            return {"mimeType": type_, "params": texts}
    return {"mimeType": type_, "text": body.decode(errors="replace")}
