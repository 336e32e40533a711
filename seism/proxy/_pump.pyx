# cython: language_level=3, boundscheck=False, wraparound=False
"""The innermost callbacks, compiled: the same as ``seism.proxy.pump.Pump``, which says why."""

from libc.errno cimport EAGAIN, EINTR, errno

cdef extern from "<sys/socket.h>" nogil:
    ssize_t recv(int fd, void *buffer, size_t size, int flags)
    ssize_t send(int fd, const void *buffer, size_t size, int flags)
    int MSG_NOSIGNAL

cdef enum:
    SMALL = 65536
    LARGE = 262144

cdef char _buffer[LARGE]


cdef class Pump:
    cdef public long long received, since
    cdef public bint answered
    cdef public Pump other
    cdef int _source, _sink
    cdef size_t _size

    def __init__(self):
        self._source = self._sink = -1
        self._size = SMALL

    def wire(self, source, sink):
        self._source = source.fileno()
        self._sink = sink.fileno()

    def relay_up(self):
        cdef ssize_t size = self._read()
        if size > 0:
            if self.answered:
                self.since = self.received
                self.answered = False
            self.received += size
            self._pass_on(size)

    def relay_down(self):
        cdef ssize_t size = self._read()
        if size > 0:
            self.other.answered = True
            self.received += size
            self._pass_on(size)

    cdef ssize_t _read(self):
        cdef ssize_t size = recv(self._source, _buffer, self._size, 0)
        try:
            if size == 0:
                self._read_end()
            elif size < 0:
                self._failed(OSError(errno, "recv"))
        except Exception as error:
            self._failed(error)
        return size

    cdef void _pass_on(self, ssize_t size):
        cdef ssize_t sent = send(self._sink, _buffer, size, MSG_NOSIGNAL)
        if sent == size < SMALL:
            return
        try:
            if sent < 0:
                if errno != EAGAIN and errno != EINTR:
                    self._receiver_gone()
                    return
                sent = 0
            if sent != size:
                self._keep(_buffer[sent:size])
            if size == SMALL:
                self._size = LARGE
        except Exception as error:
            self._failed(error)
