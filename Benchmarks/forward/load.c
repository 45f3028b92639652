// What Benchmarks/forward puts through a forward, apart from iperf3: connections that echo one byte.
//
//   load echo ADDRESS PORT                      answers every byte with itself, until it is ended
//   load once ADDRESS PORT                      one connection, one byte; fails after two seconds
//   load idle ADDRESS PORT COUNT                opens so many, one byte each, and holds them until its input ends
//   load churn ADDRESS PORT WIDTH MILLISECONDS [TARGET PORT]
//                                               connect, one byte, close, WIDTH at a time; with a target, by SOCKS5
//
// One thread on epoll, so that it leaves the other core to what is measured. It tells its results in one line of JSON.
// Connections to loopback come from many addresses of it, so that ports do not run out; it ends them as a client does,
// with FIN.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 256, AT_ONCE = 64, LATENCIES = 1 << 20 };
static const int64_t ATTEMPT_NS = 10 * 1000000000ll;

enum step { FREE, CONNECTING, METHOD, REPLY, ECHO, HELD };

struct connection {
  enum step step;
  int descriptor;
  int64_t began;
  int received;
};

static struct sockaddr_in server, target;
static int wants_socks;
static int poller;
static struct connection *connections;
static unsigned next_source;
static long done, failed;
static char last_failure[128];
static uint32_t *latencies;

static int64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000ll + now.tv_nsec;
}

static void stop(const char *what) {
  fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
  exit(1);
}

static struct sockaddr_in address(const char *text, const char *port) {
  struct sockaddr_in found = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
  if (inet_pton(AF_INET, text, &found.sin_addr) != 1) {
    fprintf(stderr, "load: %s is no IPv4 address\n", text);
    exit(2);
  }
  return found;
}

static void watch(int descriptor, uint32_t events, void *what) {
  struct epoll_event event = {.events = events, .data.ptr = what};
  if (epoll_ctl(poller, EPOLL_CTL_ADD, descriptor, &event) != 0) stop("epoll_ctl");
}

// Counts a connection that did not come to its byte.
static void fail(struct connection *one, const char *what, int code) {
  snprintf(last_failure, sizeof last_failure, "%s: %s", what, code ? strerror(code) : "closed");
  failed++;
  if (one->descriptor >= 0) close(one->descriptor);
  one->step = FREE;
}

static void begin(struct connection *one) {
  one->began = now_ns();
  one->received = 0;
  one->descriptor = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (one->descriptor < 0) return fail(one, "socket", errno);
  int yes = 1;
  setsockopt(one->descriptor, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  if (ntohl(server.sin_addr.s_addr) >> 24 == 127) {
    struct sockaddr_in source = {.sin_family = AF_INET};
    source.sin_addr.s_addr = htonl(0x7f010001u + next_source++ % 200);
    setsockopt(one->descriptor, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes);
    if (bind(one->descriptor, (struct sockaddr *)&source, sizeof source) != 0) return fail(one, "bind", errno);
  }
  if (connect(one->descriptor, (struct sockaddr *)&server, sizeof server) != 0 && errno != EINPROGRESS)
    return fail(one, "connect", errno);
  one->step = CONNECTING;
  watch(one->descriptor, EPOLLIN | EPOLLOUT | EPOLLET, one);
}

static int say(struct connection *one, const void *bytes, size_t count) {
  if (send(one->descriptor, bytes, count, MSG_NOSIGNAL) == (ssize_t)count) return 1;
  fail(one, "send", errno);
  return 0;
}

// The byte came back.
static void finish(struct connection *one, int hold) {
  int64_t took = (now_ns() - one->began) / 1000;
  if (done < LATENCIES) latencies[done] = took > UINT32_MAX ? UINT32_MAX : (uint32_t)took;
  done++;
  if (hold) {
    one->step = HELD;
    return;
  }
  close(one->descriptor);
  one->step = FREE;
}

static void advance(struct connection *one, uint32_t events, int hold) {
  if (one->step == CONNECTING) {
    int code = 0;
    socklen_t size = sizeof code;
    getsockopt(one->descriptor, SOL_SOCKET, SO_ERROR, &code, &size);
    if (code) return fail(one, "connect", code);
    if (!(events & EPOLLOUT)) return;
    one->step = wants_socks ? METHOD : ECHO;
    if (!say(one, wants_socks ? "\x05\x01\x00" : "x", wants_socks ? 3 : 1)) return;
  }
  while (one->step == METHOD || one->step == REPLY || one->step == ECHO) {
    uint8_t bytes[16];
    int wanted = one->step == METHOD ? 2 : one->step == REPLY ? 10 : 1;
    ssize_t count = recv(one->descriptor, bytes, (size_t)(wanted - one->received), 0);
    if (count < 0 && errno == EAGAIN) return;
    if (count <= 0) return fail(one, "receive", count < 0 ? errno : 0);
    if (one->step != ECHO && one->received <= 1 && one->received + count > 1 && bytes[1 - one->received] != 0)
      return fail(one, one->step == METHOD ? "the proxy refused the method" : "the proxy refused", ECONNREFUSED);
    one->received += (int)count;
    if (one->received < wanted) continue;
    one->received = 0;
    if (one->step == METHOD) {
      uint8_t request[10] = {5, 1, 0, 1};
      memcpy(request + 4, &target.sin_addr, 4);
      memcpy(request + 8, &target.sin_port, 2);
      one->step = REPLY;
      if (!say(one, request, sizeof request)) return;
    } else if (one->step == REPLY) {
      one->step = ECHO;
      if (!say(one, "x", 1)) return;
    } else {
      finish(one, hold);
    }
  }
  if (one->step == HELD) {
    uint8_t byte;
    if (recv(one->descriptor, &byte, 1, 0) == 0) fail(one, "held connection", 0);
  }
}

static void turn(int milliseconds, int hold) {
  struct epoll_event events[EVENTS];
  int count = epoll_wait(poller, events, EVENTS, milliseconds);
  for (int index = 0; index < count; index++) advance(events[index].data.ptr, events[index].events, hold);
}

static int by_size(const void *left, const void *right) {
  uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
  return (a > b) - (a < b);
}

static void tell(int64_t began) {
  long kept = done < LATENCIES ? done : LATENCIES;
  double seconds = (double)(now_ns() - began) / 1e9;
  qsort(latencies, (size_t)kept, sizeof *latencies, by_size);
  printf("{\"done\": %ld, \"failed\": %ld, \"seconds\": %.3f, \"median_us\": %u, \"p99_us\": %u, \"failure\": \"%s\"}\n",
         done, failed, seconds, kept ? latencies[kept / 2] : 0, kept ? latencies[kept * 99 / 100] : 0, last_failure);
  fflush(stdout);
}

static void make_room(long count) {
  connections = calloc((size_t)count, sizeof *connections);
  latencies = calloc(LATENCIES, sizeof *latencies);
  if (!connections || !latencies) stop("memory");
}

static void churn(long width, long milliseconds) {
  make_room(width);
  int64_t began = now_ns(), end = began + milliseconds * 1000000ll;
  while (now_ns() < end) {
    for (long index = 0; index < width; index++) {
      struct connection *one = &connections[index];
      if (one->step != FREE && now_ns() - one->began > ATTEMPT_NS) fail(one, "no answer within 10 s", ETIMEDOUT);
      if (one->step == FREE) begin(one);
    }
    turn(10, 0);
  }
  tell(began);
}

// As many as wanted, some at a time; a connection that fails is not tried again.
static void idle(long count) {
  make_room(count);
  int64_t began = now_ns(), last = began;
  long begun = 0, seen = 0;
  while (done + failed < count) {
    while (begun < count && begun - done - failed < AT_ONCE) begin(&connections[begun++]);
    turn(100, 1);
    if (done + failed > seen) {
      seen = done + failed;
      last = now_ns();
    }
    if (now_ns() - last > ATTEMPT_NS) {
      failed += count - done - failed;
      snprintf(last_failure, sizeof last_failure, "no answer within 10 s");
    }
  }
  tell(began);
  static char end;
  struct epoll_event input = {.events = EPOLLIN, .data.ptr = &end};
  if (epoll_ctl(poller, EPOLL_CTL_ADD, 0, &input) != 0) stop("watch the input");
  for (;;) {
    struct epoll_event events[EVENTS];
    int some = epoll_wait(poller, events, EVENTS, -1);
    for (int index = 0; index < some; index++) {
      if (events[index].data.ptr == &end) {
        printf("{\"lost\": %ld}\n", failed);
        return;
      }
      advance(events[index].data.ptr, events[index].events, 1);
    }
  }
}

static void once(void) {
  make_room(1);
  int64_t end = now_ns() + 2000000000ll;
  begin(&connections[0]);
  while (done == 0 && failed == 0 && now_ns() < end) turn(100, 0);
  if (done == 0) {
    fprintf(stderr, "load: %s\n", failed ? last_failure : "no answer within 2 s");
    exit(1);
  }
}

// The descriptor stands in the event itself.
static void echo(void) {
  int yes = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (bind(listener, (struct sockaddr *)&server, sizeof server) != 0 || listen(listener, 4096) != 0) stop("listen");
  watch(listener, EPOLLIN, (void *)(intptr_t)listener);
  puts("listening");
  fflush(stdout);
  for (;;) {
    struct epoll_event events[EVENTS];
    int count = epoll_wait(poller, events, EVENTS, -1);
    for (int index = 0; index < count; index++) {
      int descriptor = (int)(intptr_t)events[index].data.ptr;
      if (descriptor == listener) {
        int accepted;
        while ((accepted = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
          setsockopt(accepted, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
          watch(accepted, EPOLLIN, (void *)(intptr_t)accepted);
        }
        continue;
      }
      uint8_t bytes[4096];
      ssize_t got = recv(descriptor, bytes, sizeof bytes, 0);
      if (got > 0 && send(descriptor, bytes, (size_t)got, MSG_NOSIGNAL) == got) continue;
      if (got < 0 && errno == EAGAIN) continue;
      close(descriptor);
    }
  }
}

int main(int count, char **words) {
  if (count < 4) {
    fprintf(stderr, "load: echo|once|idle|churn ADDRESS PORT ...\n");
    return 2;
  }
  signal(SIGPIPE, SIG_IGN);
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  server = address(words[2], words[3]);
  poller = epoll_create1(EPOLL_CLOEXEC);
  if (poller < 0) stop("epoll_create1");
  if (strcmp(words[1], "echo") == 0) {
    echo();
  } else if (strcmp(words[1], "once") == 0) {
    once();
  } else if (strcmp(words[1], "idle") == 0 && count == 5) {
    idle(atol(words[4]));
  } else if (strcmp(words[1], "churn") == 0 && (count == 6 || count == 8)) {
    wants_socks = count == 8;
    if (wants_socks) target = address(words[6], words[7]);
    churn(atol(words[4]), atol(words[5]));
  } else {
    fprintf(stderr, "load: unknown or incomplete: %s\n", words[1]);
    return 2;
  }
  return 0;
}
