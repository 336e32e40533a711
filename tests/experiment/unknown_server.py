"""A server that Seism does not know: it answers everything, and has no app."""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, HTTPServer


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()


listen = next(word for word in sys.argv if word.startswith("--listen="))
HTTPServer(("127.0.0.1", int(listen.rpartition(":")[2])), Handler).serve_forever()
