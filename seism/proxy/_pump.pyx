# cython: language_level=3, boundscheck=False, wraparound=False
"""The innermost loop, compiled: the same as ``Pump`` in ``seism.proxy.pump`` and ``Poller`` in
``seism.proxy.poller``, which say why.
"""

from libc.errno cimport EAGAIN, EINTR, errno

cdef extern from "<sys/socket.h>" nogil:
    ssize_t recv(int fd, void *buffer, size_t size, int flags)
    ssize_t send(int fd, const void *buffer, size_t size, int flags)
    int MSG_NOSIGNAL

cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        int fd
    cdef struct epoll_event:
        unsigned int events
        epoll_data_t data
    int epoll_create1(int flags)
    int epoll_ctl(int epoll, int what, int fd, epoll_event *event)
    int epoll_wait(int epoll, epoll_event *events, int most, int timeout)
    int EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLLIN

cdef extern from "<unistd.h>" nogil:
    int close(int fd)

cdef enum:
    SMALL = 65536
    LARGE = 262144
    TURN = 32
    ALONE = 256
    READ = 1

cdef char _buffer[LARGE]
cdef int _streak = 0


cdef class Pump:
    cdef public long long received, since
    cdef public bint answered
    cdef public Pump other
    cdef int _source, _sink
    cdef size_t _size
    cdef object _armed
    cdef bint _upstream

    def __init__(self):
        self._source = self._sink = -1
        self._size = SMALL

    def wire(self, source, sink):
        self._source = source.fileno()
        self._sink = sink.fileno()

    def route(self, armed, bint upstream):
        self._armed = armed
        self._upstream = upstream

    def unwire(self):
        self._armed = self.other = None

    cpdef callback(self):
        if self._armed is not None:
            self._armed()
        elif self._upstream:
            self.relay_up()
        else:
            self.relay_down()

    cpdef relay_up(self):
        cdef ssize_t size = self._read()
        if size > 0:
            if self.answered:
                self.since = self.received
                self.answered = False
            self.received += size
            self._pass_on(size)

    cpdef relay_down(self):
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
            if size >= SMALL:
                self._size = LARGE if _streak >= ALONE else SMALL
        except Exception as error:
            self._failed(error)


cdef class Poller:
    cdef int _epoll, _last
    cdef dict _links
    cdef object _watcher

    def __cinit__(self):
        self._epoll = epoll_create1(EPOLL_CLOEXEC)
        if self._epoll < 0:
            raise OSError(errno, "epoll_create1")

    def __init__(self, loop):
        self._links = {}
        self._watcher = loop.io(self._epoll, READ)
        self._watcher.start(self._readable)

    def start(self, int fd, Pump link):
        cdef epoll_event event
        event.events = EPOLLIN
        event.data.fd = fd
        if epoll_ctl(self._epoll, EPOLL_CTL_ADD, fd, &event) < 0:
            raise OSError(errno, "epoll_ctl")
        self._links[fd] = link

    def stop(self, int fd):
        if self._links.pop(fd, None) is not None:
            epoll_ctl(self._epoll, EPOLL_CTL_DEL, fd, NULL)

    def forget(self, int fd):
        self._links.pop(fd, None)

    def close(self):
        self._watcher.stop()
        self._watcher.close()
        close(self._epoll)

    def _readable(self):
        global _streak
        cdef epoll_event events[TURN]
        cdef int count = epoll_wait(self._epoll, events, TURN, 0), i, fd
        if count == 1 and events[0].data.fd == self._last:
            _streak += 1
        elif count > 0:
            _streak = 0
            self._last = events[0].data.fd
        for i in range(count):
            fd = events[i].data.fd
            link = self._links.get(fd)
            if link is not None:
                (<Pump>link).callback()
            else:
                epoll_ctl(self._epoll, EPOLL_CTL_DEL, fd, NULL)
