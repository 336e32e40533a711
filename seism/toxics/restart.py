"""The backend restarts: every connection ends once it is parked, and new ones work at once.

Incidents: redis-py 4128, peewee's PooledPostgresqlDatabase before 4.3.0, SQLAlchemy without
``pool_pre_ping``: the first request on each stale connection fails.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from seism.toxics.base import Rng, Stage, Toxic
from seism.toxics.parting import Parting


@dataclass(frozen=True, slots=True)
class Restart(Toxic):
    """Close each connection (FIN) once its client waits for nothing; RST to whoever still writes.

    Imitates a server that is restarted, or a firewall or server that closes idle connections.
    Connections made afterwards work. Removing it leaves the closed connections closed.
    """

    type: ClassVar[str] = "restart"
    established: ClassVar[bool] = True

    def stage(self, rng: Rng) -> Stage:
        return Parting()
