"""The helpers for unittest, and the assertions on judgements."""

from __future__ import annotations

import socket
import unittest

import pytest

from seism.testing import SeismTestCase, assert_survives
from tests.report import known
from tests.servers import Valkey


class Case(SeismTestCase):
    __test__ = False  # it is run by hand below
    upstream = ""

    def ask(self) -> None:
        proxy = self.proxy("db", self.upstream)
        host, _, port = proxy.get()["listen"].rpartition(":")
        with proxy.toxic("latency", stream="upstream", latency=1):
            with socket.create_connection((host, int(port)), timeout=5) as client:
                client.sendall(b"PING\r\n")
                assert client.recv(20) == b"+PONG\r\n"

    def runTest(self) -> None:
        self.assertNotFired("db")
        self.ask()
        self.assertFired("db")
        self.assertIn("begins: latency on db", self.timeline())
        with self.assertRaisesRegex(AssertionError, "db was perturbed\n.*begins: latency on db"):
            self.assertNotFired("db")
        with self.assertRaisesRegex(AssertionError, "nothing was perturbed on cache"):
            self.assertFired("cache")


del SeismTestCase  # pytest would collect it here


def test_a_case_of_unittest() -> None:
    with Valkey() as valkey:
        Case.upstream = f"127.0.0.1:{valkey.port}"
        result = unittest.TestResult()
        suite = unittest.TestSuite([Case(), Case()])
        suite.run(result)
    assert result.testsRun == 2
    assert result.errors == result.failures == []


def test_survival() -> None:
    assert_survives(known.green())
    assert_survives(known.green(), known.ROUTES[0], strict=True)
    with pytest.raises(AssertionError) as raised:
        assert_survives(known.mixed(), "POST /cart")
    assert "POST /cart under cache-reset" in str(raised.value)
    assert "hit by p-12" in str(raised.value)
    with pytest.raises(AssertionError, match="no perturbation is known to have hit GET /none"):
        assert_survives(known.green(), "GET /none")
