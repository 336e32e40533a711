"""Drive a sidecar from Python; the standard library is all it needs.

    client = Client()  # SEISM_SIDECAR and SEISM_TOKEN, else 127.0.0.1:8474
    with client.proxy("db").toxic("latency", latency=100):
        ...

What a ``with`` block changed is as before when the block ends, however it ends.
"""

from seism.client.client import Client
from seism.client.control import Control
from seism.client.events import Feed
from seism.client.proxy import Proxy, ProxyValues, Toxic, ToxicValues

__all__ = ["Client", "Control", "Feed", "Proxy", "ProxyValues", "Toxic", "ToxicValues"]
