"""For suites that use ``unittest``."""

from __future__ import annotations

import tempfile
import unittest
from pathlib import Path
from typing import Any, ClassVar

from seism.client import Proxy
from seism.testing.assertion import assert_fired, timeline
from seism.testing.sidecar import Running, sidecar


class SeismTestCase(unittest.TestCase):
    """Has a sidecar of the class's own in ``self.seism``; proxies last as long as a test."""

    seism: ClassVar[Running]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        folder = cls.enterClassContext(tempfile.TemporaryDirectory(prefix="seism-"))
        cls.seism = cls.enterClassContext(sidecar(Path(folder)))

    def setUp(self) -> None:
        super().setUp()
        records = self.seism.records()
        self._seen = records[-1].seq if records else 0

    def proxy(self, name: str, upstream: str, **values: Any) -> Proxy:
        """A proxy in front of ``upstream`` until the test ends; see ``Client.created``."""
        return self.enterContext(self.seism.created(name, upstream, **values))

    def assertFired(self, proxy: str) -> None:
        """Something on ``proxy`` has had an effect in this test."""
        assert_fired(self.seism.records(self._seen), proxy)

    def assertNotFired(self, proxy: str) -> None:
        """Nothing on ``proxy`` has had an effect in this test."""
        assert_fired(self.seism.records(self._seen), proxy, fired=False)

    def timeline(self) -> str:
        """What has happened in this test, a line each."""
        return "\n".join(timeline(self.seism.records(self._seen)))
