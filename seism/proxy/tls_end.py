"""One end of a connection that speaks TLS, with the part of a socket that links use.

OpenSSL works between two memory buffers here; this class carries ciphertext between
them and the non-blocking socket. So plaintext comes out of ``recv_into`` and goes into
``send``, and whoever calls them need not know: what cannot go on raises BlockingIOError.

Two things differ from a socket. What was read may be more than what was asked for, as
when the end of the stream comes with its last bytes, or a record is longer than the buffer:
``pending`` says that there is more although the descriptor is not readable, and ``more`` is
called then. And what
was sent may wait here for the kernel to take it, at most ``PIECE`` bytes and what TLS
adds: this class sends it by itself, after ``close`` as well, for ``LINGER`` seconds.
"""

from __future__ import annotations

import _socket
import socket
import ssl
from collections.abc import Callable
from typing import Any

from seism.proxy.relay import Relay
from seism.proxy.timers import Timer

RECORD = 16384 + 256 + 5
"""Bytes of the longest TLS record (RFC 8446, 5.2; RFC 5246, 6.2.3 allows a little more)."""
LEAST = 4096
"""Bytes read from the kernel at once, however small the buffer is."""
PIECE = 64 * 1024
"""Bytes encrypted at once."""
LINGER = 60.0
"""Seconds that the receiver has to take what was sent before ``close``."""

_READ = 1
_WRITE = 2

Done = Callable[[OSError | None], None]
"""Takes what was wrong with the handshake, None if nothing was."""


class TlsEnd:
    """Owns ``sock``, which must be non-blocking before ``handshake`` is called."""

    __slots__ = (
        "_done",
        "_failure",
        "_fin",
        "_flushing",
        "_incoming",
        "_linger",
        "_outgoing",
        "_over",
        "_relay",
        "_reset",
        "_said",
        "_shaker",
        "_sock",
        "_tls",
        "_unread",
        "_unsent",
        "more",
        "peer",
        "ragged",
    )

    def __init__(
        self,
        relay: Relay,
        sock: _socket.socket,
        context: ssl.SSLContext,
        *,
        server_side: bool = False,
        name: str | None = None,
    ) -> None:
        """``name`` is the server's, of a client's end."""
        self._relay = relay
        self._sock = sock
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_side, server_hostname=name
        )
        self._unread = False
        self._unsent = memoryview(b"")
        self._over = False
        self._failure: ssl.SSLError | None = None
        self._reset: OSError | None = None
        """What sending by itself has failed with: the receiver is gone."""
        self._fin = False
        self._said = False
        self._shaker: Any = None
        self._flushing: Any = None
        self._linger: Timer | None = None
        self._done: Done | None = None
        self.more: Callable[[], None] | None = None
        """Called when there is something ``pending``."""
        self.peer: TlsEnd | None = None
        """The other end of the connection, if it speaks TLS, too."""
        self.ragged = False
        """The sender's stream ended without saying so: it may have been cut short."""

    # The handshake.

    def handshake(self, done: Done, begun: bytes = b"") -> None:
        """Call ``done`` once, possibly before this returns, unless it is closed first.

        ``begun`` is what has been read of the peer's ciphertext already.
        """
        self._done = done
        self._incoming.write(begun)
        self._shaker = self._relay.loop.io(self._sock.fileno(), _READ)
        self._shaker.start(self._shake)
        self._advance()

    def _shake(self) -> None:
        try:
            self._feed(self._sock.recv(RECORD))
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._shaken(error)
            return
        self._advance()

    def _advance(self) -> None:
        failure: OSError | None = None
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush_quietly()
            return
        except OSError as error:
            failure = error  # and OpenSSL has written an alert that says so
        self._flush_quietly()
        self._unread = bool(self._incoming.pending)
        self._shaken(failure)

    def _shaken(self, failure: OSError | None) -> None:
        self._shaker = _stop(self._shaker)
        done, self._done = self._done, None
        if done is not None:
            done(failure)

    # Plaintext.

    @property
    def pending(self) -> bool:
        """Whether ``recv_into`` has something to say that no event will announce."""
        return self._unread or self._over or self._failure is not None

    def recv_into(self, buffer: memoryview, /) -> int:
        """Like a socket's."""
        if self._failure is not None:
            raise self._failure
        if self._over:
            return 0
        if not self._unread:
            # OpenSSL may hold most of a record already: in a large buffer, all fits even so.
            self._feed(self._sock.recv(max(LEAST, len(buffer) - RECORD)))
        size = self._decrypt(buffer)
        self._unread = size == len(buffer)
        if self._fin and not self._said:
            self._say_end()
        if self._outgoing.pending or (self._said and self._flushing is None):
            self._flush_quietly()
        if size:
            if self.pending and self.more is not None:
                self.more()
            return size
        if self._failure is not None:
            raise self._failure
        if self._over:
            return 0
        raise BlockingIOError

    def _feed(self, data: bytes) -> None:
        if data:
            self._incoming.write(data)
        elif self._reset is not None:
            raise self._reset  # a send was told, and the kernel tells it once
        else:
            self._incoming.write_eof()

    def _decrypt(self, buffer: memoryview) -> int:
        size = 0
        try:
            while size < len(buffer):
                # With a buffer it returns a size, which the annotations do not know.
                read: Any = self._tls.read(len(buffer) - size, buffer[size:])
                if not read:
                    self._over = True
                    break
                size += read
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._over = True
        except ssl.SSLEOFError:
            self._over = self.ragged = True
        except ssl.SSLError as error:
            self._failure = error
        return size

    def send(self, data: Any, /) -> int:
        """Like a socket's; what it says was sent arrives, or the connection breaks."""
        if not self._flush():
            raise BlockingIOError
        sent = 0
        view = memoryview(data)
        while sent < len(view):
            sent += self._tls.write(view[sent : sent + PIECE])
            if not self._flush():
                break
        return sent

    # The end.

    def shutdown(self, how: int, /) -> None:
        """Say that nothing follows: close_notify, then FIN. ``how`` can only be SHUT_WR."""
        if self._fin:
            return
        self._fin = True
        # OpenSSL would throw away what has not been read: that comes first.
        if not self._unread:
            self._say_end()
            self._flush()

    def _say_end(self) -> None:
        self._said = True
        # What was cut short on one side must not look complete on the other.
        if self.peer is None or not self.peer.ragged:
            try:
                self._tls.unwrap()
            except (ssl.SSLError, ValueError):
                pass  # it has been said; nobody waits here for the answer

    def close(self) -> None:
        """Close the socket, at once if ``shutdown`` was not called before."""
        self._shaker = _stop(self._shaker)
        if self._fin and not self._said:
            self._say_end()
            self._flush_quietly()
        self._done = self.more = self.peer = None
        if self._fin and len(self._unsent) and self._flushing is not None:
            self._linger = self._relay.timers.at(
                self._relay.clock.now() + LINGER, self._close_socket
            )
        else:
            self._close_socket()

    def _close_socket(self) -> None:
        self._flushing = _stop(self._flushing)
        self._unsent = memoryview(b"")
        if self._linger is not None:
            self._linger.cancel()
        self._sock.close()

    # Ciphertext to the kernel.

    def _flush(self) -> bool:
        """Whether nothing is left. What is left goes out by itself. Raises OSError."""
        while len(self._unsent) or self._outgoing.pending:
            if not len(self._unsent):
                self._unsent = memoryview(self._outgoing.read())
            try:
                self._unsent = self._unsent[self._sock.send(self._unsent) :]
            except BlockingIOError:
                if self._flushing is None:
                    self._flushing = self._relay.loop.io(self._sock.fileno(), _WRITE)
                    self._flushing.start(self._writable)
                return False
        self._flushing = _stop(self._flushing)
        if self._said:
            self._sock.shutdown(socket.SHUT_WR)
        return True

    def _flush_quietly(self) -> None:
        try:
            self._flush()
        except OSError as error:
            self._reset = error  # what had come before it can still be read

    def _writable(self) -> None:
        try:
            flushed = self._flush()
        except OSError as error:
            self._reset = error
            flushed = True
            self._flushing = _stop(self._flushing)
            self._unsent = memoryview(b"")
        if flushed and self._linger is not None:
            self._close_socket()

    # What is the socket's own.

    @property
    def family(self) -> int:
        return self._sock.family

    def fileno(self) -> int:
        return self._sock.fileno()

    def getsockname(self) -> Any:
        return self._sock.getsockname()

    def setblocking(self, flag: bool, /) -> None:
        self._sock.setblocking(flag)

    def setsockopt(self, level: int, name: int, value: Any, /) -> None:
        self._sock.setsockopt(level, name, value)

    def recv(self, size: int, /) -> bytes:
        """Ciphertext, to be thrown away."""
        return self._sock.recv(size)


def _stop(watcher: Any) -> Any:
    """Stop and close ``watcher``, if it is one; returns None, to put in its place."""
    if watcher is not None:
        watcher.stop()
        watcher.close()
    return None
