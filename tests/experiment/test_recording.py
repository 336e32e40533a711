"""A load from a recording or an OpenAPI document, sent to the app that it is of."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from wsgiref.simple_server import WSGIServer

import pytest

from seism.errors import ConfigurationError
from seism.experiment.config import load as loaded
from seism.experiment.config import substitute
from seism.experiment.recorder import Recorder
from seism.experiment.recording import Recording, read, recorded
from seism.experiment.request import requests
from seism.experiment.toml import write
from tests.experiment import session_app
from tests.experiment.test_load import load, segment
from tests.experiment.test_setup import server, statuses

__all__ = ["server"]
DOCUMENT = {
    "openapi": "3.1.0",
    "components": {
        "securitySchemes": {
            "a": {"type": "http", "scheme": "basic"},
            "b": {"type": "http", "scheme": "bearer"},
            "key": {"type": "apiKey", "in": "header", "name": "X-Key"},
        },
        "schemas": {
            "Kind": {"enum": ["tea", "coffee"]},
            "Order": {
                "type": "object",
                "required": ["key", "count", "tags", "owner", "kind"],
                "properties": {
                    "key": {"type": "string", "format": "uuid"},
                    "count": {"type": "integer", "minimum": 3},
                    "tags": {"type": "array", "items": {"type": "string", "example": "a"}},
                    "owner": {
                        "type": "object",
                        "required": ["mail"],
                        "properties": {"mail": {"type": "string", "format": "email"}},
                    },
                    "kind": {"$ref": "#/components/schemas/Kind"},
                    "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                },
            },
        },
    },
    "paths": {
        "/orders": {
            "get": {
                "parameters": [
                    {
                        "name": "size",
                        "in": "query",
                        "required": True,
                        "schema": {"type": "integer", "minimum": 5},
                    },
                    {"name": "sort", "in": "query"},
                ]
            },
            "post": {
                "requestBody": {
                    "content": {
                        "application/json": {"schema": {"$ref": "#/components/schemas/Order"}}
                    }
                }
            },
        },
        "/orders/{number}": {
            "get": {"parameters": [{"name": "number", "in": "path", "example": 7}]},
            "delete": {"parameters": [{"name": "number", "in": "path"}]},
        },
    },
}
FORM = "application/x-www-form-urlencoded"


class Browser:
    """Sends requests as a browser does, and keeps what it saw as HAR 1.2."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._cookies: dict[str, str] = {}
        self.entries: list[dict[str, Any]] = []

    def send(self, method: str, path: str, body: str = "", **headers: str) -> str:
        """The body of the answer."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self._cookies:
            sent["Cookie"] = "; ".join(f"{k}={v}" for k, v in self._cookies.items())
        connection = http.client.HTTPConnection("127.0.0.1", self._port)
        connection.request(method, path, body or None, sent)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        found = answer.getheaders()
        for name, value in found:
            if name == "Set-Cookie":
                key, _, rest = value.partition("=")
                self._cookies[key] = rest.partition(";")[0]
        request: dict[str, Any] = {
            "method": method,
            "url": f"http://shop.test{path}",
            "headers": [{"name": name, "value": value} for name, value in sent.items()],
        }
        if body:
            request["postData"] = {"mimeType": sent.get("Content-Type", ""), "text": body}
        response = {
            "status": answer.status,
            "headers": [{"name": name, "value": value} for name, value in found],
            "content": {"mimeType": answer.headers["Content-Type"], "text": text},
        }
        self.entries.append({"request": request, "response": response})
        return text

    def saved(self, path: Path) -> Path:
        picture = {"request": {"method": "GET", "url": "http://shop.test/a.png"},
                   "response": {"content": {"mimeType": "image/png"}}}  # fmt: skip
        other = {"request": {"method": "GET", "url": "http://ads.test/"}, "response": {}}
        document = {"log": {"version": "1.2", "entries": [picture, other, *self.entries]}}
        path.write_text(json.dumps(document), encoding="utf-8")
        return path


def sent_again(
    found: Recording, server: Any, folder: Path, workers: int, count: int, **environ: str
) -> dict[str, Any]:
    path = folder / "seism.toml"
    tables = {"setup": found.setup} if found.setup else {}
    path.write_text(write(tables | {"load": found.load}), encoding="utf-8")
    experiment = loaded(path, environ)
    assert experiment.load is not None
    told = substitute(requests(experiment.load, experiment.setup, folder), environ, "")
    with load(server, workers=workers, **told) as process:
        return segment(process, "steady", count)[1]


def clicked(browser: Browser) -> list[str]:
    """Use the session app; what is secret of it."""
    token = browser.send("GET", "/login").partition('value="')[2].partition('"')[0]
    form = urlencode({"password": session_app.PASSWORD, "token": token})
    browser.send("POST", "/login", form, Content_Type=FORM)
    browser.send("GET", "/me", Accept="text/html")
    browser.send("POST", "/save", X_CSRF=browser._cookies["csrf"])
    given = browser.send(
        "POST", "/token", json.dumps({"password": session_app.PASSWORD}),
        Content_Type="application/json",
    )  # fmt: skip
    browser.send("GET", "/api", Authorization=f"Bearer {json.loads(given)['access']}")
    browser.send("POST", "/orders", "tea", Content_Type="text/plain")
    browser.send("GET", f"/orders/{max(session_app.orders, key=int)}")
    return [session_app.PASSWORD, token, *browser._cookies.values()]


@pytest.mark.parametrize("by", ["browser", "seism"])
def test_a_recording(server: WSGIServer, tmp_path: Path, by: str) -> None:
    if by == "browser":
        browser = Browser(server.server_port)
        secrets = clicked(browser)
        found = read(browser.saved(tmp_path / "app.har"))
        assert found.notes == ["left out, as of other hosts: ads.test"]
    else:
        recorder = Recorder(server.server_port)
        with recorder.listening() as url:
            secrets = clicked(Browser(int(url.rpartition(":")[2])))
        found = recorded(recorder.entries)
        assert found.notes == []
    text = write({"load": found.load})
    assert found.variables == ["PASSWORD"]
    for secret in secrets:
        assert secret not in text
    answer = sent_again(found, server, tmp_path, 1, 16, PASSWORD=session_app.PASSWORD)
    seen = statuses(answer)
    assert {status for each in seen.values() for status in each} == {"200", "201", "302"}
    assert len(seen) == 8 and "GET /me" in seen
    assert seen["GET /me"] == {"200": 2}
    session_app.orders.clear()


def test_an_openapi_document(tmp_path: Path) -> None:
    path = tmp_path / "openapi.json"
    path.write_text(json.dumps(DOCUMENT), encoding="utf-8")
    found = read(path)
    assert found.setup == {
        "basic": "${API_USER}:${API_PASSWORD}",
        "headers": {"Authorization": "Bearer ${API_TOKEN}", "X-Key": "${KEY}"},
    }
    assert found.notes == ["DELETE /orders/{number} needs a value in its path"]
    assert found.load["route"] == [
        {"path": "/orders?size=5"},
        {
            "method": "POST",
            "path": "/orders",
            "json": {
                "key": "{uuid}",
                "count": 3,
                "tags": ["a"],
                "owner": {"mail": "{unique}@example.com"},
                "kind": "tea",
            },
        },
        {"path": "/orders/7"},
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON in UTF-8"),
        ("[]", "expected a HAR file"),
        ('{"log": {"entries": []}}', "no request that a load could send"),
        ('{"paths": {}}', "no request that a load could send"),
    ],
)
def test_what_is_no_recording(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.har"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=message):
        read(path)
