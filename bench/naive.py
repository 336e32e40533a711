"""The proxy that one writes first: two greenlets per connection, recv and sendall.

``python -m bench.naive HOST:PORT`` prints the port it listens on.
"""

from __future__ import annotations

import sys

import gevent
from gevent import socket
from gevent.server import StreamServer


def main(upstream: str) -> None:
    host, _, port = upstream.rpartition(":")

    def pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            source.close()
            sink.close()

    def handle(client: socket.socket, _: object) -> None:
        server = socket.create_connection((host, int(port)))
        for sock in (client, server):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        gevent.joinall([gevent.spawn(pump, client, server), gevent.spawn(pump, server, client)])
        server.close()

    listener = StreamServer(("127.0.0.1", 0), handle, backlog=1024)
    listener.start()
    print(listener.server_port, flush=True)
    listener.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1])
