"""HTTP/1.1 as nginx speaks it: requests and raw bytes."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from tests.ports import free_port
from tests.processes import process, wait_for
from tests.protocols.record import Sessions
from tests.protocols.sessions.http import raw

SESSIONS = Sessions()
CONFIGURATION = """\
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  gzip on;
  gzip_min_length 100;
  gzip_types text/plain;
  types {{ text/plain txt; }}
  server {{
    listen 127.0.0.1:{port};
    root {folder}/www;
    client_max_body_size 1k;
    absolute_redirect off;
    location /moved {{ return 301 /page.txt; }}
    location /gone {{ return 410; }}
  }}
}}
"""


@contextmanager
def server() -> Iterator[int]:
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        folder.chmod(0o755)  # nginx's worker is another user
        (folder / "www").mkdir()
        (folder / "www" / "page.txt").write_text("hello, nginx\n" * 100)
        (folder / "nginx.conf").write_text(CONFIGURATION.format(folder=folder, port=port))
        command = ["nginx", "-p", name, "-c", f"{name}/nginx.conf", "-e", f"{name}/error.log"]
        with process(*command, "-g", "daemon off;", stop=signal.SIGQUIT) as child:
            wait_for(port, child)
            yield port


@SESSIONS.add("requests", "GET GET HEAD GET GET POST GET GET GET")
def _(port: int) -> None:
    base = f"http://127.0.0.1:{port}"
    with requests.Session() as session:
        session.trust_env = False
        bare = {"Accept-Encoding": "identity"}
        plain = session.get(f"{base}/page.txt", headers=bare)
        assert session.get(f"{base}/page.txt").headers["Content-Encoding"] == "gzip"
        assert session.head(f"{base}/page.txt").ok
        part = session.get(f"{base}/page.txt", headers={**bare, "Range": "bytes=3-9,20-30"})
        assert part.status_code == 206
        fresh = session.get(f"{base}/page.txt", headers={"If-None-Match": plain.headers["ETag"]})
        assert fresh.status_code == 304
        assert session.post(f"{base}/page.txt", data=b"x").status_code == 405
        assert session.get(f"{base}/moved").ok
        assert session.get(f"{base}/gone").status_code == 410


@SESSIONS.add("pipelined", "GET GET POST")
def _(port: int) -> None:
    answer = raw(
        port,
        b"GET /page.txt HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n",
        b"GET /missing HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /page.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 2000\r\n\r\n" + b"x" * 2000,
    )
    assert b" 413 " in answer
