"""urllib3 before 2: a body that is shorter than its Content-Length passes for the whole."""

import os

import urllib3

from tests.pairs.serving import wsgi

pool = urllib3.PoolManager(timeout=1, retries=False)


def ask() -> None:
    answer = pool.request("POST", f"http://{os.environ['API']}/", body=b"x" * 100)
    if answer.status != 200:
        raise urllib3.exceptions.HTTPError(answer.status)


app = wsgi(ask, (urllib3.exceptions.HTTPError,))
