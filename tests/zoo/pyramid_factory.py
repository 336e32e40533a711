"""Pyramid whose route has a factory that asks the database, before the view is known."""

import os

import psycopg2
from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response

HOST, PORT = os.environ["DB"].split(":")


class Item:
    def __init__(self, request: Request) -> None:
        connection = psycopg2.connect(host=HOST, port=PORT, user="seism", dbname="postgres")
        try:
            connection.cursor().execute("select 1")
        finally:
            connection.close()


def failed(error: Exception, request: Request) -> Response:
    return Response("the database is away", status=500)


with Configurator() as config:
    config.include("seism_middleware")
    config.add_route("item", "/things/{name}", factory=Item)
    config.add_view(lambda context, request: Response("x"), route_name="item")
    config.add_exception_view(failed, context=psycopg2.Error)
    app = config.make_wsgi_app()
