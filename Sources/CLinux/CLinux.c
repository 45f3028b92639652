#define _GNU_SOURCE
// The C library's network headers come before the kernel's, which then leave out what both define.
#include <arpa/inet.h>
#include <netinet/in.h>

#include "CLinux.h"

#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <linux/errqueue.h>
#include <linux/filter.h>
#include <malloc.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

int culvert_epoll_create(void) { return epoll_create1(EPOLL_CLOEXEC); }

static int control(int epoll, int operation, int fd, uint32_t events, uint64_t token) {
  struct epoll_event event = {
    .events = (events & culvert_edge_triggered ? EPOLLET : 0) | (events & 0xFFFF), .data.u64 = token};
  return epoll_ctl(epoll, operation, fd, &event);
}

int culvert_epoll_add(int epoll, int fd, uint32_t events, uint64_t token) {
  return control(epoll, EPOLL_CTL_ADD, fd, events, token);
}

int culvert_epoll_modify(int epoll, int fd, uint32_t events, uint64_t token) {
  return control(epoll, EPOLL_CTL_MOD, fd, events, token);
}

int culvert_epoll_remove(int epoll, int fd) { return epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL); }

int culvert_epoll_wait(int epoll, struct culvert_epoll_event *out, int capacity, int64_t timeout_ns) {
  struct epoll_event events[128];
  if (capacity > 128) capacity = 128;
  struct timespec span = {.tv_sec = timeout_ns / 1000000000, .tv_nsec = timeout_ns % 1000000000};
  int count = epoll_pwait2(epoll, events, capacity, timeout_ns < 0 ? NULL : &span, NULL);
  if (count < 0 && errno == ENOSYS) {
    int milliseconds = timeout_ns < 0 ? -1 : (int)((timeout_ns + 999999) / 1000000);
    count = epoll_wait(epoll, events, capacity, milliseconds);
  }
  for (int i = 0; i < count; i++) {
    out[i].events = events[i].events;
    out[i].token = events[i].data.u64;
  }
  return count;
}

int culvert_eventfd(void) { return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }

_Static_assert(
  culvert_readable == EPOLLIN && culvert_writable == EPOLLOUT && culvert_error == EPOLLERR && culvert_hangup == EPOLLHUP &&
    culvert_peer_hangup == EPOLLRDHUP,
  "the kernel's event bits");

int culvert_next_signal(int fd) {
  struct signalfd_siginfo info;
  return read(fd, &info, sizeof info) == (ssize_t)sizeof info ? (int)info.ssi_signo : 0;
}

static sigset_t blocked_signals;

int culvert_signalfd(const int *signals, int count) {
  sigemptyset(&blocked_signals);
  for (int i = 0; i < count; i++) sigaddset(&blocked_signals, signals[i]);
  pthread_sigmask(SIG_BLOCK, &blocked_signals, NULL);
  return signalfd(-1, &blocked_signals, SFD_CLOEXEC | SFD_NONBLOCK);
}

void culvert_unblock_signals(void) { pthread_sigmask(SIG_UNBLOCK, &blocked_signals, NULL); }

static int64_t clock_ns(clockid_t id) {
  struct timespec now;
  clock_gettime(id, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t culvert_monotonic_ns(void) { return clock_ns(CLOCK_MONOTONIC); }
int64_t culvert_boottime_ns(void) { return clock_ns(CLOCK_BOOTTIME); }

int culvert_clock_watch(void) {
  int descriptor = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);
  if (descriptor >= 0) culvert_clock_watch_again(descriptor);
  return descriptor;
}

void culvert_clock_watch_again(int descriptor) {
  uint64_t count;
  /* It fails with ECANCELED, which is the message. */
  if (read(descriptor, &count, sizeof count) < 0) errno = 0;
  /* A time that never comes. */
  struct itimerspec never = {.it_value = {.tv_sec = INT64_MAX}};
  timerfd_settime(descriptor, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL);
}

int64_t culvert_realtime_ns(void) { return clock_ns(CLOCK_REALTIME); }

static socklen_t pack(const struct culvert_endpoint *in, struct sockaddr_storage *out) {
  memset(out, 0, sizeof *out);
  if (in->family == 4) {
    struct sockaddr_in *v4 = (struct sockaddr_in *)out;
    v4->sin_family = AF_INET;
    v4->sin_port = htons(in->port);
    memcpy(&v4->sin_addr, in->address, 4);
    return sizeof *v4;
  }
  struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
  v6->sin6_family = AF_INET6;
  v6->sin6_port = htons(in->port);
  v6->sin6_scope_id = in->scope;
  memcpy(&v6->sin6_addr, in->address, 16);
  return sizeof *v6;
}

static void unpack(const struct sockaddr_storage *in, struct culvert_endpoint *out) {
  memset(out, 0, sizeof *out);
  if (in->ss_family == AF_INET) {
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)in;
    out->family = 4;
    out->port = ntohs(v4->sin_port);
    memcpy(out->address, &v4->sin_addr, 4);
  } else if (in->ss_family == AF_INET6) {
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)in;
    out->family = 6;
    out->port = ntohs(v6->sin6_port);
    out->scope = v6->sin6_scope_id;
    memcpy(out->address, &v6->sin6_addr, 16);
  }
}

int culvert_socket(int family, int kind) {
  int domain = family == 4 ? AF_INET : AF_INET6;
  int type = kind == 0 ? SOCK_STREAM : kind == 1 ? SOCK_DGRAM : SOCK_RAW;
  int protocol = kind == 2 ? (family == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6) : 0;
  return socket(domain, type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
}

// A raw socket takes the port field for a protocol number; an endpoint's port is an echo identifier there.
static int is_raw(int fd) {
  int type = 0;
  socklen_t length = sizeof type;
  return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 && type == SOCK_RAW;
}

int culvert_bind(int fd, const struct culvert_endpoint *local) {
  struct sockaddr_storage storage;
  struct culvert_endpoint endpoint = *local;
  if (is_raw(fd)) endpoint.port = 0;
  socklen_t length = pack(&endpoint, &storage);
  return bind(fd, (struct sockaddr *)&storage, length);
}

int culvert_connect(int fd, const struct culvert_endpoint *remote) {
  struct sockaddr_storage storage;
  struct culvert_endpoint endpoint = *remote;
  if (is_raw(fd)) endpoint.port = 0;
  socklen_t length = pack(&endpoint, &storage);
  return connect(fd, (struct sockaddr *)&storage, length);
}

int culvert_local_endpoint(int fd, struct culvert_endpoint *out) {
  struct sockaddr_storage storage;
  socklen_t length = sizeof storage;
  int result = getsockname(fd, (struct sockaddr *)&storage, &length);
  if (result == 0) unpack(&storage, out);
  return result;
}

int culvert_remote_endpoint(int fd, struct culvert_endpoint *out) {
  struct sockaddr_storage storage;
  socklen_t length = sizeof storage;
  int result = getpeername(fd, (struct sockaddr *)&storage, &length);
  if (result == 0) unpack(&storage, out);
  return result;
}

int culvert_accept(int listener, struct culvert_endpoint *remote) {
  struct sockaddr_storage storage;
  socklen_t length = sizeof storage;
  int fd = accept4(listener, (struct sockaddr *)&storage, &length, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd >= 0) unpack(&storage, remote);
  return fd;
}

int culvert_set_option(int fd, int level, int name, int value) {
  return setsockopt(fd, level, name, &value, sizeof value);
}

int culvert_get_error(int fd) {
  int error = 0;
  socklen_t length = sizeof error;
  if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0) return errno;
  return error;
}

int culvert_bind_to_device(int fd, const char *name) {
  return setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, (socklen_t)strlen(name) + 1);
}

int culvert_request_packet_info(int fd, int family, int udp) {
  int granted = 0;
  if (family == 4) {
    if (culvert_set_option(fd, IPPROTO_IP, IP_PKTINFO, 1) == 0) granted |= 1;
    if (culvert_set_option(fd, IPPROTO_IP, IP_RECVTOS, 1) == 0) granted |= 2;
  } else {
    if (culvert_set_option(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1) == 0) granted |= 1;
    if (culvert_set_option(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, 1) == 0) granted |= 2;
    // A dual-stack socket delivers IPv4 packets with IPv4 control messages; refused on a v6-only one.
    culvert_set_option(fd, IPPROTO_IP, IP_RECVTOS, 1);
  }
  if (udp && culvert_set_option(fd, IPPROTO_UDP, UDP_GRO, 1) == 0) granted |= 4;
  return granted;
}

void culvert_set_fragmentation(int fd, int family, int mode) {
  int value = mode == 1 ? IP_PMTUDISC_PROBE : mode == 2 ? IP_PMTUDISC_DONT : IP_PMTUDISC_WANT;
  // An IPv6 socket that sends to an IPv4-mapped address goes by IPv4's option. The numbers are the same.
  culvert_set_option(fd, IPPROTO_IP, IP_MTU_DISCOVER, value);
  if (family == 6) culvert_set_option(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, value);
}

union control_buffer {
  struct cmsghdr header;
  char bytes[256];
};

static void read_control(struct msghdr *message, struct culvert_received *out) {
  for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c != NULL; c = CMSG_NXTHDR(message, c)) {
    if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
      struct in_pktinfo info;
      memcpy(&info, CMSG_DATA(c), sizeof info);
      out->interface = (uint32_t)info.ipi_ifindex;
      out->local.family = 4;
      memcpy(out->local.address, &info.ipi_addr, 4);
    } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
      struct in6_pktinfo info;
      memcpy(&info, CMSG_DATA(c), sizeof info);
      out->interface = info.ipi6_ifindex;
      out->local.family = 6;
      memcpy(out->local.address, &info.ipi6_addr, 16);
    } else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS) {
      out->ecn = *(uint8_t *)CMSG_DATA(c) & 3;
    } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_TCLASS) {
      int value;
      memcpy(&value, CMSG_DATA(c), sizeof value);
      out->ecn = (uint8_t)(value & 3);
    } else if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO) {
      int value;
      memcpy(&value, CMSG_DATA(c), sizeof value);
      if (value > 0) out->segment = (uint32_t)value;
    }
  }
}

int culvert_receive(int fd, uint8_t *base, size_t stride, int count, struct culvert_received *out) {
  struct mmsghdr messages[64];
  struct iovec pieces[64];
  struct sockaddr_storage names[64];
  union control_buffer controls[64];
  if (count > 64) count = 64;
  for (int i = 0; i < count; i++) {
    pieces[i].iov_base = base + (size_t)i * stride;
    pieces[i].iov_len = stride;
    memset(&messages[i].msg_hdr, 0, sizeof messages[i].msg_hdr);
    messages[i].msg_hdr.msg_name = &names[i];
    messages[i].msg_hdr.msg_namelen = sizeof names[i];
    messages[i].msg_hdr.msg_iov = &pieces[i];
    messages[i].msg_hdr.msg_iovlen = 1;
    messages[i].msg_hdr.msg_control = &controls[i];
    messages[i].msg_hdr.msg_controllen = sizeof controls[i];
  }
  int received = recvmmsg(fd, messages, (unsigned)count, MSG_DONTWAIT, NULL);
  for (int i = 0; i < received; i++) {
    memset(&out[i], 0, sizeof out[i]);
    if (messages[i].msg_hdr.msg_namelen > 0) unpack(&names[i], &out[i].remote);
    out[i].length = messages[i].msg_len;
    out[i].truncated = (messages[i].msg_hdr.msg_flags & MSG_TRUNC) != 0;
    read_control(&messages[i].msg_hdr, &out[i]);
    if (out[i].segment == 0 || out[i].segment > out[i].length) out[i].segment = out[i].length;
  }
  return received;
}

void culvert_request_errors(int fd, int family) {
  int one = 1;
  if (family == 4) {
    setsockopt(fd, IPPROTO_IP, IP_RECVERR, &one, sizeof one);
  } else {
    setsockopt(fd, IPPROTO_IPV6, IPV6_RECVERR, &one, sizeof one);
  }
}

int culvert_receive_error(int fd, struct culvert_icmp_error *out) {
  struct sockaddr_storage name;
  union control_buffer buffer;
  struct msghdr message = {
    .msg_name = &name, .msg_namelen = sizeof name, .msg_control = &buffer, .msg_controllen = sizeof buffer};
  if (recvmsg(fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) return -1;
  memset(out, 0, sizeof *out);
  for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c != NULL; c = CMSG_NXTHDR(&message, c)) {
    if (!(c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR)
        && !(c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR)) continue;
    struct sock_extended_err error;
    memcpy(&error, CMSG_DATA(c), sizeof error);
    if (error.ee_origin != SO_EE_ORIGIN_ICMP && error.ee_origin != SO_EE_ORIGIN_ICMP6) return 0;
    if (message.msg_namelen == 0) return 0;
    unpack(&name, &out->remote);
    out->type = error.ee_type;
    out->code = error.ee_code;
    out->mtu = error.ee_info;
    return 1;
  }
  return 0;
}

// Adds the source address (packet info) to a message's control data; returns the bytes used.
static size_t write_source(
  struct msghdr *message, union control_buffer *buffer, const struct culvert_endpoint *local, uint32_t interface) {
  message->msg_control = buffer;
  message->msg_controllen = sizeof *buffer;
  struct cmsghdr *c = CMSG_FIRSTHDR(message);
  if (local->family == 4) {
    struct in_pktinfo info = {.ipi_ifindex = (int)interface};
    memcpy(&info.ipi_spec_dst, local->address, 4);
    c->cmsg_level = IPPROTO_IP;
    c->cmsg_type = IP_PKTINFO;
    c->cmsg_len = CMSG_LEN(sizeof info);
    memcpy(CMSG_DATA(c), &info, sizeof info);
    return CMSG_SPACE(sizeof info);
  }
  struct in6_pktinfo info = {.ipi6_ifindex = interface};
  memcpy(&info.ipi6_addr, local->address, 16);
  c->cmsg_level = IPPROTO_IPV6;
  c->cmsg_type = IPV6_PKTINFO;
  c->cmsg_len = CMSG_LEN(sizeof info);
  memcpy(CMSG_DATA(c), &info, sizeof info);
  return CMSG_SPACE(sizeof info);
}

static void append_int(struct msghdr *message, union control_buffer *buffer, size_t *used, int level, int type,
                       const void *value, size_t size) {
  struct cmsghdr *c = (struct cmsghdr *)(buffer->bytes + *used);
  c->cmsg_level = level;
  c->cmsg_type = type;
  c->cmsg_len = CMSG_LEN(size);
  memcpy(CMSG_DATA(c), value, size);
  *used += CMSG_SPACE(size);
}

_Static_assert(sizeof(struct culvert_piece) == sizeof(struct iovec), "a piece is an iovec");

static ssize_t send_pieces(
  int fd, const struct culvert_piece *pieces, int count, size_t length, uint32_t segment,
  const struct culvert_endpoint *remote, const struct culvert_endpoint *local, uint32_t interface, uint8_t ecn,
  int is_ipv4) {
  struct sockaddr_storage name;
  union control_buffer buffer;
  struct msghdr message = {.msg_iov = (struct iovec *)pieces, .msg_iovlen = (size_t)count};
  size_t used = 0;
  memset(&buffer, 0, sizeof buffer);
  if (remote != NULL) {
    message.msg_namelen = pack(remote, &name);
    message.msg_name = &name;
  }
  if (local != NULL && local->family != 0) used = write_source(&message, &buffer, local, interface);
  if (ecn != 0) {
    int value = ecn;
    // An IPv6 socket that sends to an IPv4-mapped address reads IPv4's options and passes over IPv6's in silence.
    append_int(
      &message, &buffer, &used, is_ipv4 ? IPPROTO_IP : IPPROTO_IPV6, is_ipv4 ? IP_TOS : IPV6_TCLASS, &value,
      sizeof value);
  }
  if (segment != 0 && segment < length) {
    uint16_t value = (uint16_t)segment;
    append_int(&message, &buffer, &used, IPPROTO_UDP, UDP_SEGMENT, &value, sizeof value);
  }
  message.msg_control = used > 0 ? &buffer : NULL;
  message.msg_controllen = used;
  return sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

ssize_t culvert_send_segments(
  int fd, const uint8_t *bytes, size_t length, uint32_t segment, const struct culvert_endpoint *remote,
  const struct culvert_endpoint *local, uint32_t interface, uint8_t ecn, int is_ipv4) {
  struct culvert_piece piece = {.bytes = bytes, .length = length};
  return send_pieces(fd, &piece, 1, length, segment, remote, local, interface, ecn, is_ipv4);
}

ssize_t culvert_send_gathered(
  int fd, const struct culvert_piece *pieces, int count, uint32_t segment, const struct culvert_endpoint *remote,
  const struct culvert_endpoint *local, uint8_t ecn, int is_ipv4) {
  size_t length = 0;
  for (int i = 0; i < count; i++) length += pieces[i].length;
  return send_pieces(fd, pieces, count, length, segment, remote, local, 0, ecn, is_ipv4);
}

int culvert_send_pairs(
  int fd, const struct culvert_piece *pieces, int count, const struct culvert_endpoint *remote,
  const struct culvert_endpoint *local, uint32_t interface) {
  struct mmsghdr messages[64];
  struct sockaddr_storage name;
  union control_buffer buffer;
  socklen_t name_length = 0;
  size_t used = 0;
  if (count > 64) count = 64;
  if (remote != NULL) {
    struct culvert_endpoint endpoint = *remote;
    endpoint.port = 0;
    name_length = pack(&endpoint, &name);
  }
  memset(&buffer, 0, sizeof buffer);
  memset(messages, 0, sizeof(struct mmsghdr) * (size_t)count);
  if (local != NULL && local->family != 0 && count > 0) used = write_source(&messages[0].msg_hdr, &buffer, local, interface);
  for (int i = 0; i < count; i++) {
    struct msghdr *message = &messages[i].msg_hdr;
    if (remote != NULL) {
      message->msg_name = &name;
      message->msg_namelen = name_length;
    }
    message->msg_iov = (struct iovec *)(void *)&pieces[2 * i];
    message->msg_iovlen = 2;
    message->msg_control = used > 0 ? &buffer : NULL;
    message->msg_controllen = used;
  }
  return sendmmsg(fd, messages, (unsigned)count, MSG_DONTWAIT | MSG_NOSIGNAL);
}

_Static_assert(sizeof(struct culvert_piece) == sizeof(struct iovec), "a piece is an iovec");

ssize_t culvert_write_pieces(int fd, const struct culvert_piece *pieces, int count) {
  return writev(fd, (const struct iovec *)(const void *)pieces, count);
}

int culvert_filter_envelope(
  int fd, int ipv4, uint8_t type, uint8_t other_type, int acknowledgement, int identifier) {
  // A raw IPv4 socket's filter sees the IP header, whose length goes to X; a raw ICMPv6 socket's filter does not.
  uint16_t mode_b = ipv4 ? BPF_LD | BPF_B | BPF_IND : BPF_LD | BPF_B | BPF_ABS;
  uint16_t mode_h = ipv4 ? BPF_LD | BPF_H | BPF_IND : BPF_LD | BPF_H | BPF_ABS;
  uint16_t mode_w = ipv4 ? BPF_LD | BPF_W | BPF_IND : BPF_LD | BPF_W | BPF_ABS;
  struct sock_filter program[16];
  int n = 0;
  int checks[4];
  int checked = 0;
  if (ipv4) program[n++] = (struct sock_filter)BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 0);
  program[n++] = (struct sock_filter)BPF_STMT(mode_b, 0);
  program[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, other_type, 1, 0);
  checks[checked++] = n;
  program[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, type, 0, 0);
  program[n++] = (struct sock_filter)BPF_STMT(mode_w, 8);
  checks[checked++] = n;
  program[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x474F5354, 0, 0);
  program[n++] = (struct sock_filter)BPF_STMT(mode_h, 12);
  program[n++] = (struct sock_filter)BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 1);
  checks[checked++] = n;
  program[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, acknowledgement ? 1 : 0, 0, 0);
  if (identifier >= 0) {
    program[n++] = (struct sock_filter)BPF_STMT(mode_h, 4);
    checks[checked++] = n;
    program[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)identifier, 0, 0);
  }
  program[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, 0xFFFFFFFF);
  program[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, 0);
  for (int i = 0; i < checked; i++) program[checks[i]].jf = (uint8_t)(n - 1 - checks[i] - 1);
  struct sock_fprog filter = {.len = (unsigned short)n, .filter = program};
  return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter);
}

static void ignore_signal(int number) { (void)number; }

static void survive_broken_pipes(void) {
  struct sigaction now;
  if (sigaction(SIGPIPE, NULL, &now) != 0 || now.sa_handler != SIG_DFL) return;
  // A handler and not SIG_IGN: what is executed later begins with the default again.
  struct sigaction calm = {.sa_handler = ignore_signal, .sa_flags = SA_RESTART};
  (void)sigaction(SIGPIPE, &calm, NULL);
}

int culvert_pipe(int fds[2], int size) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  (void)pthread_once(&once, survive_broken_pipes);
  if (pipe2(fds, O_NONBLOCK | O_CLOEXEC) != 0) return -1;
  // The system's limit may be lower; the default size works as well.
  (void)fcntl(fds[1], F_SETPIPE_SZ, size);
  return 0;
}

ssize_t culvert_splice(int from, int to, size_t length) {
  return splice(from, NULL, to, NULL, length, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
}

int64_t culvert_tcp_round_trip_us(int fd) {
  struct tcp_info info;
  socklen_t length = sizeof info;
  memset(&info, 0, sizeof info);
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) != 0 || info.tcpi_rtt == 0) return -1;
  return info.tcpi_rtt;
}

int culvert_path_mtu(int fd, int family) {
  int mtu = 0;
  socklen_t length = sizeof mtu;
  int result = family == 4 ? getsockopt(fd, IPPROTO_IP, IP_MTU, &mtu, &length)
                           : getsockopt(fd, IPPROTO_IPV6, IPV6_MTU, &mtu, &length);
  return result == 0 && mtu > 0 ? mtu : -1;
}

int culvert_resolve(const char *host, int family, struct culvert_endpoint *out, int capacity) {
  struct addrinfo hints = {.ai_socktype = SOCK_DGRAM};
  struct addrinfo *list = NULL;
  hints.ai_family = family == 4 ? AF_INET : family == 6 ? AF_INET6 : AF_UNSPEC;
  int code = getaddrinfo(host, NULL, &hints, &list);
  if (code != 0) return code < 0 ? code : -code;
  int count = 0;
  for (struct addrinfo *item = list; item != NULL && count < capacity; item = item->ai_next) {
    struct sockaddr_storage storage;
    memset(&storage, 0, sizeof storage);
    if (item->ai_addrlen > sizeof storage) continue;
    memcpy(&storage, item->ai_addr, item->ai_addrlen);
    unpack(&storage, &out[count]);
    if (out[count].family != 0) count++;
  }
  freeaddrinfo(list);
  return count;
}

const char *culvert_resolve_error(int code) {
  return code == CULVERT_NO_NAME_SERVER ? "no name server has an address of the family that is allowed"
                                        : gai_strerror(code);
}

static int unix_address(const char *path, struct sockaddr_un *out) {
  memset(out, 0, sizeof *out);
  out->sun_family = AF_UNIX;
  if (strlen(path) >= sizeof out->sun_path) {
    errno = ENAMETOOLONG;
    return -1;
  }
  strcpy(out->sun_path, path);
  return 0;
}

int culvert_unix_listen(const char *path) {
  struct sockaddr_un address;
  if (unix_address(path, &address) != 0) return -1;
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -1;
  mode_t previous = umask(0077);
  int result = bind(fd, (struct sockaddr *)&address, sizeof address);
  umask(previous);
  if (result != 0 || listen(fd, 16) != 0) {
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
  }
  return fd;
}

int culvert_unix_connect(const char *path) {
  struct sockaddr_un address;
  if (unix_address(path, &address) != 0) return -1;
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
  }
  return fd;
}

extern char **environ;

pid_t culvert_start_program(const char *path, char *const arguments[]) {
  posix_spawnattr_t attributes;
  sigset_t none;
  pid_t pid;
  posix_spawnattr_init(&attributes);
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  int error = posix_spawnp(&pid, path, NULL, &attributes, arguments, environ);
  posix_spawnattr_destroy(&attributes);
  if (error != 0) {
    errno = error;
    return -1;
  }
  return pid;
}

int culvert_detach(void) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return -1;
  pid_t child = fork();
  if (child < 0) return -1;
  if (child > 0) {
    // The one that was called: waits for the other's word, and passes its exit code on when it ends without one.
    char word;
    close(ends[1]);
    ssize_t count;
    do count = read(ends[0], &word, 1);
    while (count < 0 && errno == EINTR);
    if (count == 1) _exit(0);
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    _exit(WIFEXITED(status) && WEXITSTATUS(status) != 0 ? WEXITSTATUS(status) : 1);
  }
  close(ends[0]);
  setsid();
  return ends[1];
}

int culvert_detached(int word) {
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null < 0) return -1;
  for (int fd = 0; fd < 3; fd++) dup2(null, fd);
  if (null > 2) close(null);
  if (chdir("/") != 0) return -1;
  ssize_t count = write(word, "+", 1);
  close(word);
  return count == 1 ? 0 : -1;
}

int culvert_watch_removal(const char *directory) {
  int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  if (fd < 0) return -1;
  if (inotify_add_watch(fd, directory, IN_DELETE | IN_MOVED_FROM | IN_DELETE_SELF) < 0) {
    close(fd);
    return -1;
  }
  return fd;
}

void culvert_drain(int fd) {
  char bytes[4096];
  while (read(fd, bytes, sizeof bytes) > 0) {}
}

int culvert_die_with_parent(int signal) { return prctl(PR_SET_PDEATHSIG, signal); }

int culvert_run_program(char *const arguments[]) {
  int status = 0;
  pid_t pid = culvert_start_program(arguments[0], arguments);
  if (pid < 0) return -1;
  while (waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) return -1;
  }
  return status;
}

// MARK: memory

static int forget_segments(struct dl_phdr_info *object, size_t size, void *unused) {
  (void)size;
  (void)unused;
  const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
  for (int i = 0; i < object->dlpi_phnum; i++) {
    const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
    // Segments with relocations are writable in the file's own words, also where they were closed afterwards.
    if (segment->p_type != PT_LOAD || (segment->p_flags & PF_W)) continue;
    const uintptr_t start = (object->dlpi_addr + segment->p_vaddr) & ~(page - 1);
    const uintptr_t end = object->dlpi_addr + segment->p_vaddr + segment->p_filesz;
    // The kernel's own object cannot be advised, which is no harm.
    madvise((void *)start, end - start, MADV_DONTNEED);
  }
  return 0;
}

void culvert_return_free_heap(void) { malloc_trim(0); }

void culvert_forget_startup(void) {
  malloc_trim(0);
  dl_iterate_phdr(forget_segments, NULL);
}

// MARK: A last breath

static struct {
  int fd;
  const char *buffer;
  // Written by one thread, read by whichever dies.
  volatile size_t used;
} crash = {-1, NULL, 0};

static const int deadly_signals[] = {SIGILL, SIGTRAP, SIGSEGV, SIGBUS, SIGFPE, SIGABRT};
enum { deadly_count = sizeof deadly_signals / sizeof deadly_signals[0] };
static struct sigaction before_crash[deadly_count];

// Calls nothing but what a signal's handler may call.
static void last_breath(int signal) {
  int fd = crash.fd;
  size_t left = crash.used;
  const char *next = crash.buffer;
  crash.fd = -1;
  while (fd >= 0 && left > 0) {
    ssize_t count = write(fd, next, left);
    if (count <= 0) break;
    next += count;
    left -= (size_t)count;
  }
  for (int i = 0; i < deadly_count; i++) {
    if (deadly_signals[i] == signal) sigaction(signal, &before_crash[i], NULL);
  }
  raise(signal);
}

void culvert_crash_buffer(int fd, const void *buffer) {
  int was_set = crash.fd >= 0;
  crash.used = 0;
  crash.buffer = buffer;
  crash.fd = fd;
  for (int i = 0; i < deadly_count; i++) {
    if (fd >= 0 && !was_set) {
      struct sigaction action;
      memset(&action, 0, sizeof action);
      action.sa_handler = last_breath;
      sigaction(deadly_signals[i], &action, &before_crash[i]);
    } else if (fd < 0 && was_set) {
      sigaction(deadly_signals[i], &before_crash[i], NULL);
    }
  }
}

size_t culvert_crash_used(void) { return crash.used; }
void culvert_crash_use(size_t count) { crash.used = count; }
