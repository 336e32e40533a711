"""A worker of an app with the middleware, idle: its stream to the sidecar is open.

``python -m bench.observer HOST:PORT`` prints a line once it is connected, and stays.
"""

from __future__ import annotations

import sys
import threading

from seism_middleware.observer import configured


def main(sidecar: str) -> None:
    observer = configured(sidecar, None, "wsgi")
    assert observer is not None
    observer.start()
    observer.finish(observer.begin("GET", "/"))
    print("connected", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1])
