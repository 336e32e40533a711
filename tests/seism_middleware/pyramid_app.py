"""A small Pyramid app, loaded by PasteDeploy."""

from __future__ import annotations

from typing import Any


def main(global_config: dict[str, str], **settings: str) -> Any:
    from pyramid.config import Configurator
    from pyramid.response import Response

    def item(request: Any) -> Response:
        return Response(request.matchdict["name"])

    def raises(request: Any) -> Response:
        raise KeyError("secret")

    with Configurator(settings=settings) as config:
        config.add_route("item", "items/{name}")
        config.add_route("raises", "/raises")
        config.add_view(item, route_name="item")
        config.add_view(raises, route_name="raises")
        return config.make_wsgi_app()
