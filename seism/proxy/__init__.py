"""The back proxies: the only sockets between client and backend, on gevent's event loop.

Everything here runs as plain callbacks on the loop of the thread that made the
``Collection``; only resolving names takes a greenlet. Control calls change the same
objects between two callbacks, so they never wait for a client or a backend.
"""
