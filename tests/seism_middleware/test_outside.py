"""The adapter of docs/extending.md, around a real app of its framework."""

from __future__ import annotations

from typing import Any

import bottle

from seism_middleware.contract import RequestEnded
from tests.outside import code
from tests.seism_middleware.peer import Peer
from tests.seism_middleware.test_frameworks import serving_wsgi


def test_an_adapter_from_outside_names_the_routes(peer: Peer) -> None:
    adapter: dict[str, Any] = {}
    exec(code("extending.md", "import bottle"), adapter)
    app = bottle.Bottle()

    @app.route("/items/<name>")
    def item(name: str) -> str:
        return name

    with serving_wsgi(adapter["observed"](app, sidecar=peer.address)) as client:
        for path, status in (("/items/blue", 200), ("/nowhere/7", 404)):
            client.request("GET", path)
            answer = client.getresponse()
            answer.read()
            assert answer.status == status
    # Where nothing matched, the path is all there is.
    routes = [record.route for record in peer.wait(RequestEnded, 2)]
    assert routes == ["/items/{name}", "/nowhere/{id}"]
