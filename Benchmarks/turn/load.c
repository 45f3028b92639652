// What Benchmarks/turn puts through a TURN relay: clients in one network namespace, a peer in another.
//
//   load CLIENT-NAMESPACE PEER-NAMESPACE SERVER PORT PEER-ADDRESS ALLOCATIONS USER PASSWORD [PID...]
//
// It makes so many allocations, each from a socket of its own and each with a channel to the peer, says so in a line of
// JSON, and then obeys lines of its input until that ends, with a line of JSON for each:
//
//   run WAY SIZE KIND LIMIT MILLISECONDS FLOWS     WAY: up (client to peer) or down
//                                                  KIND: single, or burst: 16 datagrams in one by UDP_SEGMENT
//                                                  LIMIT: window=N, rate=N (datagrams a second) or flood
//
// One process and one thread for both sides, in the two namespaces by turns, so that a window can be kept: with
// window=N no more than N datagrams are under way, so the relay is always busy and nothing is thrown away; what does
// not arrive within 20 ms is counted as lost. The processor time of the processes PID, with all of their threads, is
// read at the same two moments as the number of datagrams that arrived.
//
// Latency: from the call that sends a datagram to the kernel's own time stamp at the receiver, with rate= alone. How
// long this program took to look is not in it.
//
// STUN and TURN as a client needs them: RFC 8489 sections 5, 9.2 and 14, RFC 8656 sections 7, 12 and 18.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/net_tstamp.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 16, PEER_PORT = 5000, CHANNEL = 0x4000, LARGEST = 1404, MARK = 16, READ = 64, LATENCIES = 1 << 22 };
static const int64_t PATIENCE_NS = 20000000;
static const uint32_t COOKIE = 0x2112a442;

struct flow {
  int descriptor;
  struct sockaddr_storage relayed;
};

// A message being written, or one that came.
struct message {
  uint8_t bytes[1024];
  size_t length;
};

static struct flow *flows;
static int flow_count, peer_socket, poller;
static struct sockaddr_storage server, peer;
static const char *user;
static uint8_t key[16];
static char realm[256], nonce[256];
static size_t realm_length, nonce_length;
static const char **pids;
static int pid_count;
static uint32_t *latencies;
static long latency_count;
static int64_t clock_difference;  // CLOCK_REALTIME, which the kernel stamps with, less CLOCK_MONOTONIC.

static void stop(const char *what) {
  fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
  exit(1);
}

static int64_t now_ns(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return now.tv_sec * 1000000000ll + now.tv_nsec;
}

static socklen_t size_of(const struct sockaddr_storage *address) {
  return address->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}

static struct sockaddr_storage address(const char *text, int port) {
  struct sockaddr_storage found = {0};
  struct sockaddr_in *four = (struct sockaddr_in *)&found;
  struct sockaddr_in6 *six = (struct sockaddr_in6 *)&found;
  if (inet_pton(AF_INET, text, &four->sin_addr) == 1) {
    four->sin_family = AF_INET;
    four->sin_port = htons((uint16_t)port);
  } else if (inet_pton(AF_INET6, text, &six->sin6_addr) == 1) {
    six->sin6_family = AF_INET6;
    six->sin6_port = htons((uint16_t)port);
  } else {
    fprintf(stderr, "load: %s is no address\n", text);
    exit(2);
  }
  return found;
}

// Sockets in the two namespaces

static void enter(const char *namespace) {
  int descriptor = open(namespace, O_RDONLY | O_CLOEXEC);
  if (descriptor < 0 || setns(descriptor, CLONE_NEWNET) != 0) stop(namespace);
  close(descriptor);
}

static int open_socket(int family, int is_large) {
  int descriptor = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (descriptor < 0) stop("socket");
  int size = 8 << 20, yes = 1;
  if (is_large) {
    setsockopt(descriptor, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
    setsockopt(descriptor, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
  }
  setsockopt(descriptor, SOL_SOCKET, SO_TIMESTAMPNS, &yes, sizeof yes);
  return descriptor;
}

static void receive_together(int descriptor, int yes) {
  setsockopt(descriptor, IPPROTO_UDP, UDP_GRO, &yes, sizeof yes);
}

static void connect_client(struct flow *flow, int is_large) {
  int before = flow->descriptor;
  flow->descriptor = open_socket(server.ss_family, is_large);
  if (connect(flow->descriptor, (struct sockaddr *)&server, size_of(&server)) != 0) stop("connect");
  if (before > 0) close(before);
}

// STUN

static void put16(uint8_t *to, unsigned value) {
  to[0] = (uint8_t)(value >> 8);
  to[1] = (uint8_t)value;
}

static unsigned get16(const uint8_t *from) { return (unsigned)from[0] << 8 | from[1]; }

static void begin(struct message *message, unsigned type) {
  static uint64_t count;
  memset(message->bytes, 0, 20);
  put16(message->bytes, type);
  put16(message->bytes + 4, COOKIE >> 16);
  put16(message->bytes + 6, COOKIE & 0xffff);
  count++;
  memcpy(message->bytes + 12, &count, sizeof count);
  message->length = 20;
}

static void add(struct message *message, unsigned type, const void *value, size_t length) {
  uint8_t *at = message->bytes + message->length;
  put16(at, type);
  put16(at + 2, (unsigned)length);
  memset(at + 4, 0, (length + 3) & ~3ul);
  memcpy(at + 4, value, length);
  message->length += 4 + ((length + 3) & ~3ul);
  put16(message->bytes + 2, (unsigned)(message->length - 20));
}

static void add_peer(struct message *message) {
  uint8_t value[20] = {0, peer.ss_family == AF_INET ? 1 : 2};
  if (peer.ss_family == AF_INET) {
    const struct sockaddr_in *four = (const struct sockaddr_in *)&peer;
    memcpy(value + 2, &four->sin_port, 2);
    memcpy(value + 4, &four->sin_addr, 4);
  } else {
    const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)&peer;
    memcpy(value + 2, &six->sin6_port, 2);
    memcpy(value + 4, &six->sin6_addr, 16);
  }
  size_t length = peer.ss_family == AF_INET ? 8 : 20;
  for (size_t at = 4; at < length; at++) value[at] ^= message->bytes[at];
  value[2] ^= message->bytes[4];
  value[3] ^= message->bytes[5];
  add(message, 0x0012, value, length);
}

static void sign(struct message *message) {
  add(message, 0x0006, user, strlen(user));
  add(message, 0x0014, realm, realm_length);
  add(message, 0x0015, nonce, nonce_length);
  put16(message->bytes + 2, (unsigned)(message->length + 24 - 20));
  uint8_t code[20];
  unsigned length = sizeof code;
  HMAC(EVP_sha1(), key, sizeof key, message->bytes, message->length, code, &length);
  add(message, 0x0008, code, sizeof code);
}

static const uint8_t *attribute(const struct message *message, unsigned type, size_t *length) {
  for (size_t at = 20; at + 4 <= message->length;) {
    *length = get16(message->bytes + at + 2);
    if (at + 4 + *length > message->length) return NULL;
    if (get16(message->bytes + at) == type) return message->bytes + at + 4;
    at += 4 + ((*length + 3) & ~3ul);
  }
  return NULL;
}

// Sends a request until its answer comes. Returns 0, or the error's code.
static int ask(int descriptor, const struct message *request, struct message *answer) {
  for (int attempt = 0; attempt < 8; attempt++) {
    if (send(descriptor, request->bytes, request->length, 0) < 0 && errno != ECONNREFUSED) stop("send");
    int64_t limit = now_ns(CLOCK_MONOTONIC) + 500000000;
    for (;;) {
      int64_t left = limit - now_ns(CLOCK_MONOTONIC);
      struct pollfd ready = {.fd = descriptor, .events = POLLIN};
      if (left <= 0 || poll(&ready, 1, (int)(left / 1000000) + 1) <= 0) break;
      ssize_t count = recv(descriptor, answer->bytes, sizeof answer->bytes, MSG_DONTWAIT);
      if (count < 20 || memcmp(answer->bytes + 8, request->bytes + 8, 12) != 0) continue;
      answer->length = (size_t)count;
      if ((get16(answer->bytes) & 0x0110) == 0x0100) return 0;
      size_t length;
      const uint8_t *code = attribute(answer, 0x0009, &length);
      return code && length >= 4 ? code[2] * 100 + code[3] : 1;
    }
  }
  fprintf(stderr, "load: the relay does not answer\n");
  exit(1);
}

static void keep(const struct message *answer, unsigned type, char *to, size_t *to_length) {
  size_t length;
  const uint8_t *value = attribute(answer, type, &length);
  if (!value || length > 255) {
    fprintf(stderr, "load: an error without attribute 0x%04x\n", type);
    exit(1);
  }
  memcpy(to, value, length);
  *to_length = length;
}

static void allocate(struct flow *flow, const char *password, int *nonces) {
  struct message request, answer;
  int code = 401;
  for (int attempt = 0; attempt < 8 && code != 0; attempt++) {
    begin(&request, 0x0003);
    add(&request, 0x0019, "\x11\0\0\0", 4);
    if (peer.ss_family == AF_INET6) add(&request, 0x0017, "\x02\0\0\0", 4);
    // A nonce that was good for one client may be good for all: it is tried before a new one is asked for.
    if (nonce_length) sign(&request);
    code = ask(flow->descriptor, &request, &answer);
    if (code == 437) {  // This port had an allocation before.
      connect_client(flow, flow_count <= 64);
      continue;
    }
    if (code != 401 && code != 438) break;
    keep(&answer, 0x0014, realm, &realm_length);
    keep(&answer, 0x0015, nonce, &nonce_length);
    char text[1024];
    int length = snprintf(text, sizeof text, "%s:%.*s:%s", user, (int)realm_length, realm, password);
    EVP_Digest(text, (size_t)length, key, NULL, EVP_md5(), NULL);
    ++*nonces;
  }
  size_t length = 0;
  const uint8_t *value = code ? NULL : attribute(&answer, 0x0016, &length);
  if (!value || length != (peer.ss_family == AF_INET ? 8 : 20)) {
    fprintf(stderr, "load: no allocation: error %d, address of %zu bytes\n", code, length);
    exit(1);
  }
  uint8_t plain[20];
  memcpy(plain, value, length);
  for (size_t at = 4; at < length; at++) plain[at] ^= answer.bytes[at];
  plain[2] ^= answer.bytes[4];
  plain[3] ^= answer.bytes[5];
  flow->relayed = peer;
  struct sockaddr_in *four = (struct sockaddr_in *)&flow->relayed;
  struct sockaddr_in6 *six = (struct sockaddr_in6 *)&flow->relayed;
  memcpy(&four->sin_port, plain + 2, 2);
  if (length == 8) memcpy(&four->sin_addr, plain + 4, 4);
  else memcpy(&six->sin6_addr, plain + 4, 16);

  uint8_t number[4] = {CHANNEL >> 8, CHANNEL & 0xff};
  begin(&request, 0x0009);
  add(&request, 0x000c, number, sizeof number);
  add_peer(&request);
  sign(&request);
  code = ask(flow->descriptor, &request, &answer);
  if (code) {
    fprintf(stderr, "load: no channel: error %d\n", code);
    exit(1);
  }
}

// Processor time

static int64_t cpu_ns(const char *pid) {
  char path[512];
  snprintf(path, sizeof path, "/proc/%s/task", pid);
  DIR *tasks = opendir(path);
  if (!tasks) stop(path);
  int64_t sum = 0;
  for (struct dirent *entry; (entry = readdir(tasks));) {
    if (entry->d_name[0] == '.') continue;
    snprintf(path, sizeof path, "/proc/%s/task/%s/schedstat", pid, entry->d_name);
    FILE *file = fopen(path, "r");
    long long spent = 0;
    if (file && fscanf(file, "%lld", &spent) == 1) sum += spent;
    if (file) fclose(file);
  }
  closedir(tasks);
  return sum;
}

// Transfer

struct order {
  int is_down, is_burst, size, flows;
  long window, rate;
  int milliseconds;
};

static uint8_t payload[BATCH * (LARGEST + 4)];
static uint64_t sent, received, given_up;
static int64_t last_arrival;

// Writes up to BATCH datagrams to one flow and gives how many the kernel took.
static int send_batch(const struct order *order, int which, int count) {
  struct flow *flow = &flows[which];
  int descriptor = order->is_down ? peer_socket : flow->descriptor;
  int length = order->size + (order->is_down ? 0 : 4);
  for (int place = 0; place < count; place++) {
    uint8_t *at = payload + place * length;
    if (!order->is_down) {
      put16(at, CHANNEL);
      put16(at + 2, (unsigned)order->size);
      at += 4;
    }
    int64_t now = order->rate ? now_ns(CLOCK_MONOTONIC) : 0;
    memcpy(at, &now, sizeof now);
  }
  struct mmsghdr messages[BATCH];
  struct iovec parts[BATCH];
  char control[CMSG_SPACE(sizeof(uint16_t))] = {0};
  memset(messages, 0, sizeof messages);
  int number = order->is_burst ? 1 : count;
  for (int place = 0; place < number; place++) {
    struct msghdr *header = &messages[place].msg_hdr;
    parts[place] = (struct iovec){payload + place * length, (size_t)(order->is_burst ? count * length : length)};
    header->msg_iov = &parts[place];
    header->msg_iovlen = 1;
    if (order->is_down) {
      header->msg_name = &flow->relayed;
      header->msg_namelen = size_of(&flow->relayed);
    }
  }
  if (order->is_burst && count > 1) {
    struct cmsghdr *head = (struct cmsghdr *)control;
    head->cmsg_level = IPPROTO_UDP;
    head->cmsg_type = UDP_SEGMENT;
    head->cmsg_len = CMSG_LEN(sizeof(uint16_t));
    uint16_t each = (uint16_t)length;
    memcpy(CMSG_DATA(head), &each, sizeof each);
    messages[0].msg_hdr.msg_control = control;
    messages[0].msg_hdr.msg_controllen = sizeof control;
  }
  int taken = sendmmsg(descriptor, messages, (unsigned)number, MSG_DONTWAIT);
  if (taken < 0 && errno != EAGAIN && errno != ENOBUFS && errno != ECONNREFUSED) stop("sendmmsg");
  if (taken < 0) return 0;
  return order->is_burst ? count : taken;
}

// Reads what came to one socket; only the first bytes of each datagram are copied.
static void take(const struct order *order, int descriptor) {
  static uint8_t bytes[READ][MARK];
  static char controls[READ][128];
  struct mmsghdr messages[READ];
  struct iovec parts[READ];
  int header = order->is_down ? 4 : 0;
  for (;;) {
    for (int place = 0; place < READ; place++) {
      parts[place] = (struct iovec){bytes[place], MARK};
      messages[place].msg_hdr = (struct msghdr){
        .msg_iov = &parts[place], .msg_iovlen = 1,
        .msg_control = controls[place], .msg_controllen = sizeof controls[0]};
    }
    int count = recvmmsg(descriptor, messages, READ, MSG_DONTWAIT | MSG_TRUNC, NULL);
    if (count <= 0) return;
    for (int place = 0; place < count; place++) {
      unsigned length = messages[place].msg_len;
      int each = order->size + header;
      int64_t stamp = 0;
      struct msghdr *found = &messages[place].msg_hdr;
      for (struct cmsghdr *head = CMSG_FIRSTHDR(found); head; head = CMSG_NXTHDR(found, head)) {
        if (head->cmsg_level == IPPROTO_UDP && head->cmsg_type == UDP_GRO) memcpy(&each, CMSG_DATA(head), sizeof each);
        if (head->cmsg_level == SOL_SOCKET && head->cmsg_type == SO_TIMESTAMPNS) {
          struct timespec time;
          memcpy(&time, CMSG_DATA(head), sizeof time);
          stamp = time.tv_sec * 1000000000ll + time.tv_nsec - clock_difference;
        }
      }
      // Anything of another length is none of ours: with the padding that a relay may add, and no more.
      if (each < order->size + header || each > order->size + header + 3) continue;
      received += (length + (unsigned)each - 1) / (unsigned)each;
      int64_t began;
      memcpy(&began, bytes[place] + header, sizeof began);
      if (order->rate && latency_count < LATENCIES && stamp > began)
        latencies[latency_count++] = (uint32_t)((stamp - began) / 10);
    }
    last_arrival = now_ns(CLOCK_MONOTONIC);
    if (count < READ) return;
  }
}

static int take_all(const struct order *order, int milliseconds) {
  struct epoll_event events[64];
  int count = epoll_wait(poller, events, 64, milliseconds);
  for (int place = 0; place < count; place++) take(order, events[place].data.fd);
  return count;
}

static int by_value(const void *left, const void *right) {
  uint32_t one = *(const uint32_t *)left, other = *(const uint32_t *)right;
  return (one > other) - (one < other);
}

static double percentile_us(double part) {
  return latency_count ? latencies[(long)(part * (double)(latency_count - 1))] / 100.0 : 0;
}

static void transfer(const struct order *order) {
  sent = received = given_up = 0;
  latency_count = 0;
  clock_difference = now_ns(CLOCK_REALTIME) - now_ns(CLOCK_MONOTONIC);
  receive_together(peer_socket, order->rate == 0);
  for (int which = 0; which < order->flows; which++) receive_together(flows[which].descriptor, order->rate == 0);
  // What the last run left.
  struct order nothing = *order;
  nothing.size = 9999;
  while (take_all(&nothing, 0) > 0) continue;

  int64_t start = now_ns(CLOCK_MONOTONIC), warm = start + 300000000, end = warm + order->milliseconds * 1000000ll;
  int64_t measured_from = 0, cpu[64], now;
  uint64_t before = 0, sent_before = 0;
  int which = 0;
  last_arrival = start;
  for (;;) {
    now = now_ns(CLOCK_MONOTONIC);
    if (!measured_from && now >= warm) {
      for (int place = 0; place < pid_count; place++) cpu[place] = cpu_ns(pids[place]);
      before = received;
      sent_before = sent;
      latency_count = 0;
      measured_from = now_ns(CLOCK_MONOTONIC);
    }
    if (now >= end) break;
    long may = BATCH;
    if (order->window) {
      uint64_t away = sent - received - given_up;
      if (sent < received + given_up) away = 0;
      if (away && now - last_arrival > PATIENCE_NS) {
        given_up += away;
        away = 0;
        last_arrival = now;
      }
      may = away >= (uint64_t)order->window ? 0 : order->window - (long)away;
      // Bursts are whole ones.
      if (order->is_burst && may < BATCH) may = 0;
    } else if (order->rate) {
      may = (long)((double)(now - start) * (double)order->rate / 1e9) - (long)sent;
    }
    if (may > BATCH) may = BATCH;
    if (may > 0) {
      int count = send_batch(order, which, (int)may);
      sent += (uint64_t)count;
      which = (which + 1) % order->flows;
      take_all(order, 0);
    } else if (order->rate) {
      // Until the next one is due, less what waking up takes.
      int64_t due = start + (int64_t)((double)(sent + 1) * 1e9 / (double)order->rate) - now - 60000;
      struct timespec wait = {.tv_nsec = due > 0 ? due : 0};
      if (due > 0) nanosleep(&wait, NULL);
      take_all(order, 0);
    } else {
      take_all(order, 1);
    }
  }
  int64_t used[64];
  for (int place = 0; place < pid_count; place++) used[place] = cpu_ns(pids[place]) - cpu[place];
  double seconds = (double)(now_ns(CLOCK_MONOTONIC) - measured_from) / 1e9;
  uint64_t delivered = received - before, offered = sent - sent_before;
  while (take_all(order, 200) > 0) continue;
  qsort(latencies, (size_t)latency_count, sizeof *latencies, by_value);
  printf("{\"seconds\": %.6f, \"delivered\": %llu, \"offered\": %llu, "
         "\"sent_in_all\": %llu, \"received_in_all\": %llu, "
         "\"p50_us\": %.2f, \"p99_us\": %.2f, \"p999_us\": %.2f, \"samples\": %ld, \"cpu_seconds\": [",
         seconds, (unsigned long long)delivered, (unsigned long long)offered, (unsigned long long)sent,
         (unsigned long long)received, percentile_us(0.5), percentile_us(0.99), percentile_us(0.999), latency_count);
  for (int place = 0; place < pid_count; place++) printf("%s%.6f", place ? ", " : "", (double)used[place] / 1e9);
  printf("]}\n");
  fflush(stdout);
}

static void obey(char *line) {
  char way[16], kind[16], limit[64];
  struct order order = {0};
  if (sscanf(line, "run %15s %d %15s %63s %d %d", way, &order.size, kind, limit, &order.milliseconds, &order.flows) != 6
      || order.size < MARK || order.size > LARGEST || order.flows < 1) {
    fprintf(stderr, "load: what is: %s", line);
    exit(2);
  }
  if (order.flows > flow_count) order.flows = flow_count;
  order.is_down = strcmp(way, "down") == 0;
  order.is_burst = strcmp(kind, "burst") == 0;
  sscanf(limit, "window=%ld", &order.window);
  sscanf(limit, "rate=%ld", &order.rate);
  transfer(&order);
}

int main(int count, char **words) {
  if (count < 9) {
    fprintf(stderr, "usage: see the top of load.c\n");
    return 2;
  }
  server = address(words[3], atoi(words[4]));
  peer = address(words[5], PEER_PORT);
  flow_count = atoi(words[6]);
  user = words[7];
  pids = (const char **)words + 9;
  pid_count = count - 9 > 64 ? 64 : count - 9;
  flows = calloc((size_t)flow_count, sizeof *flows);
  latencies = calloc(LATENCIES, sizeof *latencies);
  poller = epoll_create1(EPOLL_CLOEXEC);
  if (!flows || !latencies || poller < 0) stop("begin");
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);

  enter(words[2]);
  peer_socket = open_socket(peer.ss_family, 1);
  struct sockaddr_storage any = address(peer.ss_family == AF_INET ? "0.0.0.0" : "::", PEER_PORT);
  if (bind(peer_socket, (struct sockaddr *)&any, size_of(&any)) != 0) stop("bind the peer");
  struct epoll_event event = {.events = EPOLLIN, .data.fd = peer_socket};
  if (epoll_ctl(poller, EPOLL_CTL_ADD, peer_socket, &event) != 0) stop("epoll_ctl");
  enter(words[1]);
  int nonces = 0;
  int64_t began = now_ns(CLOCK_MONOTONIC);
  for (int which = 0; which < flow_count; which++) {
    connect_client(&flows[which], flow_count <= 64);
    allocate(&flows[which], words[8], &nonces);
    event.data.fd = flows[which].descriptor;
    if (epoll_ctl(poller, EPOLL_CTL_ADD, flows[which].descriptor, &event) != 0) stop("epoll_ctl");
  }
  printf("{\"allocations\": %d, \"seconds\": %.3f, \"nonces\": %d}\n", flow_count,
         (double)(now_ns(CLOCK_MONOTONIC) - began) / 1e9, nonces);
  fflush(stdout);
  char line[256];
  while (fgets(line, sizeof line, stdin)) obey(line);
  return 0;
}
