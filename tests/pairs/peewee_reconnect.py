"""peewee before 3.15.4: ReconnectMixin reconnects inside a transaction; earlier writes are gone."""

import os

import peewee
from playhouse.shortcuts import ReconnectMixin

from tests.pairs.serving import wsgi


class Database(ReconnectMixin, peewee.MySQLDatabase):
    pass


HOST, PORT = os.environ["MYSQL"].split(":")
database = Database("test", host=HOST, port=int(PORT), user="seism")


def ask() -> None:
    with database.connection_context():
        with database.atomic():
            database.execute_sql("INSERT INTO debits VALUES (1)")
            database.execute_sql("INSERT INTO credits VALUES (1)")


with database.connection_context():
    for table in ("debits", "credits"):
        database.execute_sql(f"CREATE TABLE IF NOT EXISTS {table} (amount INT)")
app = wsgi(ask, (peewee.PeeweeException,))
