"""peewee before 3.15.4: a connection that ends in a transaction is replaced, and the writes before
that are gone.
"""

import os

import peewee
from playhouse.shortcuts import ReconnectMixin

from tests.pairs.serving import wsgi

HOST, PORT = os.environ["MYSQL"].split(":")


class Database(ReconnectMixin, peewee.MySQLDatabase):
    """Reconnects by itself."""


database = Database("test", host=HOST, port=int(PORT), user="seism", read_timeout=1)
database.connect()
database.execute_sql("CREATE TABLE IF NOT EXISTS orders (what VARCHAR(10))")
database.close()


def ask() -> None:
    with database.connection_context(), database.atomic():
        database.execute_sql("INSERT INTO orders VALUES ('order')")
        database.execute_sql("INSERT INTO orders VALUES ('item')")


app = wsgi(ask, (peewee.PeeweeException,))
