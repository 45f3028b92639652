// The UDP receivers that are compared, and the one sender that all of them get their datagrams from.
//
//     udp send PORT RATE together|single   sends datagrams of 1,420 bytes to 127.0.0.1, RATE a second (0: all it can)
//     udp receive WAY PORT SECONDS         WAY: recvmmsg-gro, recvmmsg, recvmsg, io_uring, io_uring-gro
//
// A receiver writes "ready", then for SECONDS after the first batch it counts, then one line: how many datagrams, its
// own CPU nanoseconds for each, how many a second. `together` hands the kernel 44 datagrams in one send (UDP_SEGMENT),
// as a tunnel's sender does; the kernel cuts them apart in the sender's time unless the receiver asked for UDP_GRO.
#include "common.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <liburing.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/epoll.h>
#include <sys/mman.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

enum { TOGETHER = 44, MESSAGES = 16, LARGE = 65536, SMALL = 2048 };

static struct sockaddr_in local(int port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

// MARK: sending

static void pace(double *next, double interval) {
  if (interval == 0) return;
  *next += interval;
  double at = monotonic();
  if (*next < at - 0.01) *next = at;  // no catching up after a pause: that would be a burst
  if (*next <= at) return;
  struct timespec until = {.tv_sec = (time_t)*next, .tv_nsec = (long)((*next - (double)(time_t)*next) * 1e9)};
  clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

static _Noreturn void send_main(int port, double rate, int together) {
  static uint8_t bytes[TOGETHER * PAYLOAD];
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  struct sockaddr_in to = local(port);
  need(fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0, "connect");
  int segment = PAYLOAD;
  if (together) need(setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof segment) == 0, "UDP_SEGMENT");
  struct iovec pieces[TOGETHER];
  struct mmsghdr messages[TOGETHER];
  memset(messages, 0, sizeof messages);
  for (int i = 0; i < TOGETHER; i++) {
    pieces[i] = (struct iovec){bytes + i * PAYLOAD, PAYLOAD};
    messages[i].msg_hdr.msg_iov = &pieces[i];
    messages[i].msg_hdr.msg_iovlen = 1;
  }
  double next = monotonic(), interval = rate > 0 ? TOGETHER / rate : 0;
  for (;;) {
    pace(&next, interval);
    if (together)
      (void)!send(fd, bytes, sizeof bytes, MSG_NOSIGNAL);
    else
      (void)sendmmsg(fd, messages, TOGETHER, MSG_NOSIGNAL);
  }
}

// MARK: receiving with epoll

static int bound(int port, int gro) {
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), room = 4 << 20, one = 1;
  struct sockaddr_in address = local(port);
  need(fd >= 0, "socket");
  need(setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room) == 0, "SO_RCVBUFFORCE");
  if (gro) need(setsockopt(fd, IPPROTO_UDP, UDP_GRO, &one, sizeof one) == 0, "UDP_GRO");
  need(bind(fd, (struct sockaddr *)&address, sizeof address) == 0, "bind");
  return fd;
}

/// The length of the segments that GRO joined, from a control message; the whole message when there is none.
static size_t segment_of(struct msghdr *message, size_t length) {
  for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c != NULL; c = CMSG_NXTHDR(message, c)) {
    if (c->cmsg_level != IPPROTO_UDP || c->cmsg_type != UDP_GRO) continue;
    int segment;
    memcpy(&segment, CMSG_DATA(c), sizeof segment);
    if (segment > 0) return (size_t)segment;
  }
  return length;
}

static void count_segments(struct window *w, const uint8_t *bytes, size_t length, size_t segment) {
  for (size_t at = 0; at < length; at += segment)
    window_count(w, bytes + at, segment < length - at ? segment : length - at);
}

static void receive_epoll(int port, struct window *w, int count, int gro) {
  static uint8_t arena[MESSAGES * LARGE];
  static char control[MESSAGES][128];
  size_t stride = gro ? LARGE : SMALL;
  struct mmsghdr messages[MESSAGES];
  struct iovec pieces[MESSAGES];
  struct sockaddr_storage names[MESSAGES];
  int fd = bound(port, gro), poller = epoll_create1(0);
  struct epoll_event event = {.events = EPOLLIN | EPOLLET};
  need(poller >= 0 && epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) == 0, "epoll");
  ready();
  for (;;) {
    need(epoll_wait(poller, &event, 1, 100) >= 0 || errno == EINTR, "epoll_wait");
    for (;;) {
      for (int i = 0; i < count; i++) {
        pieces[i] = (struct iovec){arena + (size_t)i * stride, stride};
        messages[i].msg_hdr = (struct msghdr){.msg_name = &names[i], .msg_namelen = sizeof names[i],
                                              .msg_iov = &pieces[i], .msg_iovlen = 1,
                                              .msg_control = control[i], .msg_controllen = sizeof control[i]};
      }
      int got;
      if (count == 1) {
        ssize_t length = recvmsg(fd, &messages[0].msg_hdr, MSG_DONTWAIT);
        messages[0].msg_len = length < 0 ? 0 : (unsigned)length;
        got = length < 0 ? -1 : 1;
      } else {
        got = recvmmsg(fd, messages, (unsigned)count, MSG_DONTWAIT, NULL);
      }
      if (got <= 0) break;
      for (int i = 0; i < got; i++) {
        size_t length = messages[i].msg_len;
        count_segments(w, arena + (size_t)i * stride, length,
                       gro ? segment_of(&messages[i].msg_hdr, length) : length);
      }
      window_check(w);
    }
    window_check(w);
  }
}

// MARK: receiving with io_uring: one multishot recvmsg, buffers from a ring that the kernel takes them out of

static void receive_uring(int port, struct window *w, int gro) {
  unsigned buffers = gro ? 64 : 1024;
  size_t stride = (gro ? LARGE + 256 : SMALL);
  struct io_uring ring;
  struct io_uring_params parameters = {.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                                                IORING_SETUP_CQSIZE, .cq_entries = 4096};
  int refused = io_uring_queue_init_params(64, &ring, &parameters);
  errno = -refused;
  need_or_absent(refused == 0, "io_uring_setup");
  size_t ring_size = buffers * sizeof(struct io_uring_buf);
  struct io_uring_buf_ring *free_ones =
      mmap(NULL, ring_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  uint8_t *arena = malloc(buffers * stride);
  need(free_ones != MAP_FAILED && arena != NULL, "memory");
  struct io_uring_buf_reg registration = {.ring_addr = (uintptr_t)free_ones, .ring_entries = buffers, .bgid = 0};
  refused = io_uring_register_buf_ring(&ring, &registration, 0);
  errno = -refused;
  need_or_absent(refused == 0, "io_uring_register_buf_ring");
  io_uring_buf_ring_init(free_ones);
  int mask = io_uring_buf_ring_mask(buffers);
  for (unsigned i = 0; i < buffers; i++)
    io_uring_buf_ring_add(free_ones, arena + i * stride, (unsigned)stride, (unsigned short)i, mask, (int)i);
  io_uring_buf_ring_advance(free_ones, (int)buffers);

  int fd = bound(port, gro), armed = 0;
  struct msghdr shape = {.msg_namelen = sizeof(struct sockaddr_in), .msg_controllen = 64};
  ready();
  for (;;) {
    if (!armed) {
      struct io_uring_sqe *entry = io_uring_get_sqe(&ring);
      need(entry != NULL, "io_uring_get_sqe");
      io_uring_prep_recvmsg_multishot(entry, fd, &shape, 0);
      entry->flags |= IOSQE_BUFFER_SELECT;
      entry->buf_group = 0;
      armed = 1;
    }
    struct io_uring_cqe *completion;
    struct __kernel_timespec limit = {.tv_nsec = 100000000};
    (void)io_uring_submit_and_wait_timeout(&ring, &completion, 1, &limit, NULL);
    unsigned head, seen = 0;
    int returned = 0;
    io_uring_for_each_cqe(&ring, head, completion) {
      seen++;
      if (!(completion->flags & IORING_CQE_F_MORE)) armed = 0;
      if (completion->res < 0) {
        errno = -completion->res;
        if (errno != ENOBUFS) need_or_absent(0, "multishot recvmsg");
        continue;
      }
      unsigned which = completion->flags >> IORING_CQE_BUFFER_SHIFT;
      uint8_t *buffer = arena + which * stride;
      struct io_uring_recvmsg_out *out = io_uring_recvmsg_validate(buffer, completion->res, &shape);
      if (out != NULL) {
        size_t length = io_uring_recvmsg_payload_length(out, completion->res, &shape), segment = length;
        struct cmsghdr *c = gro ? io_uring_recvmsg_cmsg_firsthdr(out, &shape) : NULL;
        for (; c != NULL; c = io_uring_recvmsg_cmsg_nexthdr(out, &shape, c))
          if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO) {
            int value;
            memcpy(&value, CMSG_DATA(c), sizeof value);
            if (value > 0) segment = (size_t)value;
          }
        if (segment > 0) count_segments(w, io_uring_recvmsg_payload(out, &shape), length, segment);
      }
      io_uring_buf_ring_add(free_ones, buffer, (unsigned)stride, (unsigned short)which, mask, returned++);
    }
    io_uring_buf_ring_advance(free_ones, returned);
    io_uring_cq_advance(&ring, seen);
    window_check(w);
  }
}

int main(int count, char **arguments) {
  if (count == 5 && !strcmp(arguments[1], "send"))
    send_main(atoi(arguments[2]), atof(arguments[3]), !strcmp(arguments[4], "together"));
  if (count == 5 && !strcmp(arguments[1], "receive")) {
    struct window w = {.seconds = atof(arguments[4])};
    int port = atoi(arguments[3]);
    const char *way = arguments[2];
    if (!strcmp(way, "recvmmsg-gro")) receive_epoll(port, &w, MESSAGES, 1);
    if (!strcmp(way, "recvmmsg")) receive_epoll(port, &w, MESSAGES, 0);
    if (!strcmp(way, "recvmsg")) receive_epoll(port, &w, 1, 0);
    if (!strcmp(way, "io_uring")) receive_uring(port, &w, 0);
    if (!strcmp(way, "io_uring-gro")) receive_uring(port, &w, 1);
  }
  fputs("usage: udp send PORT RATE together|single\n"
        "       udp receive recvmmsg-gro|recvmmsg|recvmsg|io_uring|io_uring-gro PORT SECONDS\n", stderr);
  return 2;
}
