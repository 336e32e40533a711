/* The load generator and the server behind the proxies: one thread, epoll, no library.

   load serve [PORT]                  prints the port, then serves until it is stopped
   load histogram                     numbers from standard input, as a histogram
   load MODE HOST:PORT [--connections C] [--size N] [--seconds S] [--rate R] [--pid P]
                      [--delay MS]

   A connection's first byte says what the server does with the rest: 'e' echoes it, 's' reads
   it, 'd' sends bytes for ever. So one proxied address is enough for every mode:

   ping   each connection sends N bytes, waits until they are back, sends again
   pace   R messages of N bytes per second in turn over all connections, answered or not
   burst  C at a time: connect, one byte there and back, close
   up     each connection sends as much as is taken; down: receives as much as comes

   The output is one JSON object: messages, bytes, seconds, cpu_ns (user and system time of
   process P within the measured time, -1 without it), histogram as [from_ns, to_ns, count]:
   what each message took, less the delay that was injected.
   Every failure is one line on standard error and exit code 1. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { CHUNK = 256 * 1024, MESSAGE_LIMIT = 64 * 1024, EVENTS = 256, BUCKETS = 64 * 60 };
static const double WARM_UP = 0.15, SETTLE = 0.03, PATIENCE = 10.0;

struct connection {
    int fd;
    int mode;        /* server: the first byte, 0 before it; burst: the state */
    size_t got;      /* bytes of the message that is being received */
    uint64_t sent_at;
    char *partial;   /* pace: the message that is being received */
};

static char chunk[CHUNK];
static uint64_t counts[BUCKETS];
static int epoll_fd;

static void fail(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, errno ? strerror(errno) : "failed");
    exit(1);
}

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* User and system time of a whole process: finer than the ticks in /proc/PID/stat. */
static int64_t cpu_ns(int pid) {
    clockid_t clock;
    struct timespec t;
    if (pid <= 0) return -1;
    if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &t)) fail("--pid");
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Histogram: exact below 64 ns, then 64 buckets for each power of two (1.6 %). */

static unsigned bucket(uint64_t value) {
    unsigned shift = value < 64 ? 0 : 57 - (unsigned)__builtin_clzll(value);
    unsigned index = shift * 64 + (unsigned)(value >> shift);
    return index < BUCKETS ? index : BUCKETS - 1;
}

static uint64_t bucket_from(unsigned index) {
    return index < 128 ? index : (uint64_t)(index % 64 + 64) << (index / 64 - 1);
}

static void print_histogram(void) {
    const char *comma = "";
    printf("\"histogram\": [");
    for (unsigned i = 0; i < BUCKETS; i++)
        if (counts[i]) {
            printf("%s[%llu, %llu, %llu]", comma, (unsigned long long)bucket_from(i),
                   (unsigned long long)bucket_from(i + 1), (unsigned long long)counts[i]);
            comma = ", ";
        }
    printf("]");
}

/* Sockets */

static void tune(int fd) {
    int one = 1;
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

static void watch(struct connection *c, uint32_t events, int op) {
    struct epoll_event event = {.events = events, .data.ptr = c};
    if (epoll_ctl(epoll_fd, op, c->fd, &event)) fail("epoll_ctl");
}

/* All of it, waiting for room; the tool's messages are small enough never to wait long. */
static int send_all(int fd, const char *data, size_t size) {
    while (size) {
        ssize_t n = send(fd, data, size, MSG_NOSIGNAL);
        if (n > 0) {
            data += n;
            size -= (size_t)n;
        } else if (errno == EAGAIN) {
            struct pollfd p = {.fd = fd, .events = POLLOUT};
            if (poll(&p, 1, (int)(PATIENCE * 1000)) <= 0) return -1;
        } else
            return -1;
    }
    return 0;
}

/* Server */

static void hang_up(struct connection *c) {
    close(c->fd);
    free(c);
}

static void serve_one(struct connection *c, uint32_t events) {
    if (c->mode == 'd' && events & EPOLLOUT) {
        ssize_t n = send(c->fd, chunk, CHUNK, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN) hang_up(c);
        return;
    }
    ssize_t n = recv(c->fd, chunk, CHUNK, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) {
        hang_up(c);
        return;
    }
    size_t skip = 0;
    if (!c->mode) {
        c->mode = chunk[0];
        skip = 1;
        if (c->mode == 'd') watch(c, EPOLLOUT | EPOLLIN, EPOLL_CTL_MOD);
    }
    if (c->mode == 'e' && send_all(c->fd, chunk + skip, (size_t)n - skip)) hang_up(c);
}

static void serve(int port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof a;
    int one = 1;
    struct connection listener = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)};
    setsockopt(listener.fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener.fd, (struct sockaddr *)&a, sizeof a) || listen(listener.fd, 4096))
        fail("listen");
    getsockname(listener.fd, (struct sockaddr *)&a, &size);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    printf("%d\n", ntohs(a.sin_port));
    fflush(stdout);
    watch(&listener, EPOLLIN, EPOLL_CTL_ADD);
    for (;;) {
        struct epoll_event events[EVENTS];
        int n = epoll_wait(epoll_fd, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if (c != &listener) {
                serve_one(c, events[i].events);
                continue;
            }
            int fd;
            while ((fd = accept4(listener.fd, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                struct connection *new = calloc(1, sizeof *new);
                new->fd = fd;
                tune(fd);
                watch(new, EPOLLIN, EPOLL_CTL_ADD);
            }
        }
    }
}

/* Client */

static struct {
    const char *mode;
    struct sockaddr_storage address;
    socklen_t address_size;
    int connections, pid;
    size_t size;
    double seconds, rate, delay;
} asked = {.connections = 1, .size = 64, .seconds = 1, .rate = 500};

static uint64_t messages, bytes, begun, end;
static int64_t cpu_begun;
static int measuring;

static void count(uint64_t took) {
    if (measuring) {
        messages++;
        uint64_t delay = (uint64_t)(asked.delay * 1e6);
        counts[bucket(took > delay ? took - delay : 0)]++;
    }
}

static void dial(struct connection *c) {
    c->fd = socket(asked.address.ss_family, SOCK_STREAM, 0);
    if (c->fd < 0) fail("socket");
    tune(c->fd);
    if (connect(c->fd, (struct sockaddr *)&asked.address, asked.address_size) &&
        errno != EINPROGRESS)
        fail("connect");
}

static void send_message(struct connection *c, uint64_t at) {
    char message[MESSAGE_LIMIT];
    memset(message, 'x', asked.size);
    memcpy(message, &at, sizeof at);
    c->sent_at = at;
    if (send_all(c->fd, message, asked.size)) fail("send");
}

static ssize_t receive(struct connection *c) {
    ssize_t n = recv(c->fd, chunk, CHUNK, 0);
    if (n < 0 && errno == EAGAIN) return 0;
    if (n <= 0) fail("the connection was closed");
    if (measuring) bytes += (uint64_t)n;
    return n;
}

static void ping(struct connection *c) {
    c->got += (size_t)receive(c);
    if (c->got < asked.size) return;
    uint64_t now = now_ns();
    count(now - c->sent_at);
    c->got = 0;
    send_message(c, now);
}

static void paced_reply(struct connection *c) {
    const char *data = chunk;
    size_t left = (size_t)receive(c);
    uint64_t now = now_ns(), sent_at;
    while (left) {
        size_t part = asked.size - c->got < left ? asked.size - c->got : left;
        memcpy(c->partial + c->got, data, part);
        c->got += part;
        data += part;
        left -= part;
        if (c->got == asked.size) {
            memcpy(&sent_at, c->partial, sizeof sent_at);
            count(now - sent_at);
            c->got = 0;
        }
    }
}

static void burst(struct connection *c, uint32_t events) {
    if (c->mode == 'c' && events & (EPOLLERR | EPOLLHUP)) {
        socklen_t size = sizeof errno;
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &errno, &size);
        fail("connect");
    }
    if (c->mode == 'c') {
        c->mode = 'r';
        if (send_all(c->fd, "ex", 2)) fail("send");
        watch(c, EPOLLIN, EPOLL_CTL_MOD);
        return;
    }
    if (!receive(c)) return;
    count(now_ns() - c->sent_at);
    close(c->fd);
    c->mode = 'c';
    c->sent_at = now_ns();
    dial(c);
    watch(c, EPOLLOUT, EPOLL_CTL_ADD);
}

static void send_bulk(struct connection *c) {
    ssize_t n = send(c->fd, chunk, CHUNK, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) fail("send");
    if (n > 0 && measuring) bytes += (uint64_t)n;
}

static void handle(struct connection *c, uint32_t events) {
    switch (asked.mode[0] + asked.mode[1]) {
    case 'p' + 'i': ping(c); break;
    case 'p' + 'a': paced_reply(c); break;
    case 'b' + 'u': burst(c, events); break;
    case 'u' + 'p': send_bulk(c); break;
    default: receive(c);
    }
}

static void set_up(struct connection *c) {
    dial(c);
    if (!strcmp(asked.mode, "burst")) {
        c->mode = 'c';
        c->sent_at = now_ns();
        watch(c, EPOLLOUT, EPOLL_CTL_ADD);
        return;
    }
    struct pollfd p = {.fd = c->fd, .events = POLLOUT};
    if (poll(&p, 1, (int)(PATIENCE * 1000)) <= 0) fail("connect");
    int up = !strcmp(asked.mode, "up"), down = !strcmp(asked.mode, "down");
    if (send_all(c->fd, up ? "s" : down ? "d" : "e", 1)) fail("connect");
    watch(c, up ? EPOLLOUT : EPOLLIN, EPOLL_CTL_ADD);
    if (!strcmp(asked.mode, "ping")) send_message(c, now_ns());
    if (!strcmp(asked.mode, "pace")) c->partial = malloc(asked.size);
}

static int ticker(void) {
    uint64_t period = (uint64_t)(1e9 / asked.rate);
    struct timespec t = {.tv_sec = (time_t)(period / 1000000000u),
                         .tv_nsec = (long)(period % 1000000000u)};
    struct itimerspec spec = {.it_interval = t, .it_value = t};
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    if (fd < 0 || timerfd_settime(fd, 0, &spec, NULL)) fail("timerfd");
    return fd;
}

static void drive(void) {
    struct connection *all = calloc((size_t)asked.connections, sizeof *all);
    struct connection tick = {.fd = -1};
    int turn = 0;
    for (int i = 0; i < asked.connections; i++) set_up(&all[i]);
    if (!strcmp(asked.mode, "pace")) {
        tick.fd = ticker();
        watch(&tick, EPOLLIN, EPOLL_CTL_ADD);
    }
    double warm_up = !strcmp(asked.mode, "burst") ? 0.02 : WARM_UP;
    begun = now_ns() + (uint64_t)(warm_up * 1e9);
    end = begun + (uint64_t)(asked.seconds * 1e9);
    for (uint64_t now = now_ns(); now < end; now = now_ns()) {
        struct epoll_event events[EVENTS];
        if (!measuring && now >= begun) {
            measuring = 1;
            begun = now;
            end = now + (uint64_t)(asked.seconds * 1e9);
            cpu_begun = cpu_ns(asked.pid);
        }
        int n = epoll_wait(epoll_fd, events, EVENTS, 10);
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            uint64_t due;
            if (c != &tick)
                handle(c, events[i].events);
            else if (read(tick.fd, &due, sizeof due) == sizeof due)
                while (due--) {
                    send_message(&all[turn], now_ns());
                    turn = (turn + 1) % asked.connections;
                }
        }
    }
    end = now_ns();
    if (!strcmp(asked.mode, "burst")) usleep((useconds_t)(SETTLE * 1e6)); /* let it close them */
    int64_t cpu = asked.pid > 0 ? cpu_ns(asked.pid) - cpu_begun : -1;
    printf("{\"mode\": \"%s\", \"connections\": %d, \"messages\": %llu, \"bytes\": %llu, "
           "\"seconds\": %.6f, \"cpu_ns\": %lld, ",
           asked.mode, asked.connections, (unsigned long long)messages, (unsigned long long)bytes,
           (double)(end - begun) / 1e9, (long long)cpu);
    print_histogram();
    printf("}\n");
}

static void resolve(char *text) {
    char *colon = strrchr(text, ':');
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    if (!colon) errno = EINVAL, fail("HOST:PORT");
    *colon = 0;
    errno = 0;
    if (getaddrinfo(text, colon + 1, &hints, &found)) fail(text);
    memcpy(&asked.address, found->ai_addr, found->ai_addrlen);
    asked.address_size = found->ai_addrlen;
    freeaddrinfo(found);
}

static void read_options(int count, char **words) {
    if (count % 2) errno = EINVAL, fail("each option has a value");
    for (int i = 0; i < count; i += 2) {
        double value = atof(words[i + 1]);
        if (!strcmp(words[i], "--connections")) asked.connections = (int)value;
        else if (!strcmp(words[i], "--size")) asked.size = (size_t)value;
        else if (!strcmp(words[i], "--seconds")) asked.seconds = value;
        else if (!strcmp(words[i], "--rate")) asked.rate = value;
        else if (!strcmp(words[i], "--delay")) asked.delay = value;
        else if (!strcmp(words[i], "--pid")) asked.pid = (int)value;
        else errno = EINVAL, fail(words[i]);
    }
    if (asked.connections < 1 || asked.size < sizeof(uint64_t) || asked.size > MESSAGE_LIMIT ||
        asked.rate <= 0 || asked.seconds <= 0 || asked.delay < 0)
        errno = EINVAL, fail("an option is out of range");
}

int main(int argc, char **argv) {
    static const char *modes[] = {"ping", "pace", "burst", "up", "down"};
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    epoll_fd = epoll_create1(0);
    errno = 0;
    if (argc > 1 && !strcmp(argv[1], "serve")) serve(argc > 2 ? atoi(argv[2]) : 0);
    if (argc > 1 && !strcmp(argv[1], "histogram")) {
        unsigned long long value;
        while (scanf("%llu", &value) == 1) counts[bucket(value)]++;
        printf("{");
        print_histogram();
        printf("}\n");
        return 0;
    }
    for (unsigned i = 0; argc > 2 && i < sizeof modes / sizeof *modes; i++)
        if (!strcmp(argv[1], modes[i])) asked.mode = modes[i];
    if (!asked.mode) {
        fprintf(stderr, "usage: load serve [PORT] | load ping|pace|burst|up|down HOST:PORT ...\n");
        return 2;
    }
    resolve(argv[2]);
    read_options(argc - 3, argv + 3);
    drive();
    return 0;
}
