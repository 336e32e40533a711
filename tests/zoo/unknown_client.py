"""A client of Redis that nobody can see into: libc's sockets, called by ctypes.

``/fails`` makes a 500 of what goes wrong, ``/excuses`` a 503 that says when to come again, and
``/plain`` asks nobody. With ``RESTLESS`` a thread asks all the time, whoever else does.
"""

import contextlib
import ctypes
import logging
import os
import socket
import struct
import threading
import time

from seism_middleware.wsgi import Environ, SeismWSGI, StartResponse

HOST, PORT = os.environ["CACHE"].split(":")
libc = ctypes.CDLL(None, use_errno=True)


def ping() -> None:
    """Raises OSError."""
    fd = libc.socket(socket.AF_INET, socket.SOCK_STREAM, 0)
    try:
        at = struct.pack("=H", socket.AF_INET) + struct.pack("!H", int(PORT))
        at += socket.inet_aton(HOST) + bytes(8)
        answer = ctypes.create_string_buffer(100)
        question = b"PING\r\n"
        if libc.connect(fd, at, len(at)) or libc.send(fd, question, len(question), 0) < 0:
            raise OSError(ctypes.get_errno(), "the cache is away")
        if libc.recv(fd, answer, 100, 0) <= 0 or not answer.value.startswith(b"+PONG"):
            raise OSError(ctypes.get_errno(), "the cache does not answer")
    finally:
        libc.close(fd)


def keep_asking() -> None:
    while True:
        with contextlib.suppress(OSError):
            ping()
        time.sleep(0.02)


def serve(environ: Environ, start: StartResponse) -> list[bytes]:
    headers = [("Content-Type", "text/plain"), ("Content-Length", "1")]
    status = "200 OK"
    try:
        if environ["PATH_INFO"] != "/plain":
            ping()
    except OSError:
        status = "500 Internal Server Error"
        if environ["PATH_INFO"] == "/excuses":
            logging.exception("the cache is away")
            status = "503 Service Unavailable"
            headers.append(("Retry-After", "5"))
    start(status, headers)
    return [b"x"]


if os.environ["RESTLESS"]:
    threading.Thread(target=keep_asking, daemon=True).start()
app = SeismWSGI(serve)
