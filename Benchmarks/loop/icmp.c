// The ways to send and to receive ICMPv4 echo messages that are compared.
//
//     icmp send WAY DEVICE FROM TO MAC RATE SECONDS   WAY: raw, hdrincl, packet, packet-bypass, ring, ring-bypass
//     icmp receive WAY DEVICE SECONDS                 WAY: raw, packet, ring
//
// Each message is an echo request of 8 + 1,420 bytes with its own sequence number and checksum, sent 64 at a time. RATE
// is messages a second, 0 for all it can. The sender writes how many it sent, its own CPU nanoseconds for each, how
// many a second. `raw` is what Culvert does: the kernel makes the IP header, finds the route and the neighbour. With
// `hdrincl` the IP header is ours. The others begin with the Ethernet header, for which MAC is the next hop's address:
// no route, no neighbour, no nftables, no conntrack. `bypass` leaves the queueing discipline out as well.
#include "common.h"

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <linux/ip.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/mman.h>

enum { BATCH = 64, HEADER = 14 + 20 + 8, FRAME = 2048, FRAMES = 512, MESSAGES = 64 };

struct sender {
  int fd, packets, ring, without_ip;
  struct sockaddr_in to;
  uint32_t from;
  uint8_t ethernet[14];
  uint8_t *frames;
  unsigned slot;
  uint16_t sequence;
};

static uint8_t payload[PAYLOAD];
static uint32_t payload_sum;

static uint32_t add_up(const uint8_t *bytes, size_t length) {
  uint32_t sum = 0;
  for (size_t i = 0; i + 1 < length; i += 2) sum += (uint32_t)(bytes[i] << 8 | bytes[i + 1]);
  return sum;
}

static uint16_t folded(uint32_t sum) {
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return htons((uint16_t)~sum);
}

/// Ethernet, IP and echo header of the next message.
static void write_headers(struct sender *s, uint8_t *at) {
  memcpy(at, s->ethernet, 14);
  struct iphdr ip = {.version = 4, .ihl = 5, .tot_len = htons(20 + 8 + PAYLOAD), .frag_off = htons(0x4000), .ttl = 64,
                     .protocol = IPPROTO_ICMP, .saddr = s->from, .daddr = s->to.sin_addr.s_addr};
  ip.check = folded(add_up((uint8_t *)&ip, sizeof ip));
  memcpy(at + 14, &ip, sizeof ip);
  uint8_t *echo = at + 34;
  uint16_t sequence = s->sequence++;
  memcpy(echo, (uint8_t[8]){8, 0, 0, 0, 0x12, 0x34, (uint8_t)(sequence >> 8), (uint8_t)sequence}, 8);
  uint16_t check = folded(add_up(echo, 8) + payload_sum);
  memcpy(echo + 2, &check, 2);
}

// MARK: sending

static int index_of(const char *device) {
  int index = (int)if_nametoindex(device);
  need(index > 0, device);
  return index;
}

static void bind_packets(int fd, const char *device, int protocol) {
  struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons((uint16_t)protocol),
                                .sll_ifindex = index_of(device)};
  need(bind(fd, (struct sockaddr *)&address, sizeof address) == 0, "bind to the device");
}

static uint8_t *map_ring(int fd, int which) {
  int version = TPACKET_V2;
  struct tpacket_req shape = {.tp_block_size = 64 * FRAME, .tp_block_nr = FRAMES / 64, .tp_frame_size = FRAME,
                              .tp_frame_nr = FRAMES};
  need_or_absent(setsockopt(fd, SOL_PACKET, PACKET_VERSION, &version, sizeof version) == 0, "PACKET_VERSION");
  need_or_absent(setsockopt(fd, SOL_PACKET, which, &shape, sizeof shape) == 0, "packet ring");
  uint8_t *frames = mmap(NULL, FRAME * FRAMES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
  need_or_absent(frames != MAP_FAILED, "mmap of the ring");
  return frames;
}

static void open_sender(struct sender *s, const char *way, const char *device) {
  int room = 4 << 20, one = 1, bypass = strstr(way, "bypass") != NULL;
  s->packets = strncmp(way, "packet", 6) == 0 || strncmp(way, "ring", 4) == 0;
  s->ring = strncmp(way, "ring", 4) == 0;
  s->without_ip = !strcmp(way, "raw");
  s->fd = s->packets ? socket(AF_PACKET, SOCK_RAW, 0)
                     : socket(AF_INET, SOCK_RAW, s->without_ip ? IPPROTO_ICMP : IPPROTO_RAW);
  need_or_absent(s->fd >= 0, "socket");
  need(setsockopt(s->fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room) == 0, "SO_SNDBUFFORCE");
  if (bypass)
    need_or_absent(setsockopt(s->fd, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof one) == 0, "PACKET_QDISC_BYPASS");
  if (s->ring) s->frames = map_ring(s->fd, PACKET_TX_RING);
  if (s->packets) bind_packets(s->fd, device, 0);
}

/// 64 messages by one sendmmsg of two pieces each; how many were taken.
static int send_messages(struct sender *s) {
  static uint8_t headers[BATCH][HEADER];
  struct iovec pieces[BATCH][2];
  struct mmsghdr messages[BATCH];
  memset(messages, 0, sizeof messages);
  int skip = s->packets ? 0 : s->without_ip ? 34 : 14;
  for (int i = 0; i < BATCH; i++) {
    write_headers(s, headers[i]);
    pieces[i][0] = (struct iovec){headers[i] + skip, (size_t)(HEADER - skip)};
    pieces[i][1] = (struct iovec){payload, PAYLOAD};
    messages[i].msg_hdr.msg_iov = pieces[i];
    messages[i].msg_hdr.msg_iovlen = 2;
    if (s->packets) continue;
    messages[i].msg_hdr.msg_name = &s->to;
    messages[i].msg_hdr.msg_namelen = sizeof s->to;
  }
  int sent = sendmmsg(s->fd, messages, BATCH, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent < 0) need(errno == EAGAIN || errno == ENOBUFS, "sendmmsg");
  return sent < 0 ? 0 : sent;
}

/// 64 messages, their payload copied into the ring, and one call that sends them.
static int send_ring(struct sender *s) {
  int filled = 0;
  for (; filled < BATCH; filled++) {
    struct tpacket2_hdr *frame = (void *)(s->frames + (size_t)s->slot * FRAME);
    uint32_t status = __atomic_load_n(&frame->tp_status, __ATOMIC_ACQUIRE);
    need(!(status & TP_STATUS_WRONG_FORMAT), "a frame was refused");
    if (status != TP_STATUS_AVAILABLE) break;
    uint8_t *bytes = (uint8_t *)frame + TPACKET2_HDRLEN - sizeof(struct sockaddr_ll);
    write_headers(s, bytes);
    memcpy(bytes + HEADER, payload, PAYLOAD);
    frame->tp_len = HEADER + PAYLOAD;
    __atomic_store_n(&frame->tp_status, TP_STATUS_SEND_REQUEST, __ATOMIC_RELEASE);
    s->slot = (s->slot + 1) % FRAMES;
  }
  if (send(s->fd, NULL, 0, MSG_DONTWAIT) < 0) need(errno == EAGAIN || errno == ENOBUFS, "send of the ring");
  return filled;
}

static int send_main(char **arguments) {
  struct sender s = {.to = {.sin_family = AF_INET}};
  double rate = atof(arguments[7]), seconds = atof(arguments[8]);
  unsigned char mac[6] = {0};
  need(inet_pton(AF_INET, arguments[4], &s.from) == 1 && inet_pton(AF_INET, arguments[5], &s.to.sin_addr) == 1,
       "addresses");
  need(sscanf(arguments[6], "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", mac, mac + 1, mac + 2, mac + 3, mac + 4, mac + 5) == 6,
       "MAC");
  memcpy(s.ethernet, mac, 6);
  s.ethernet[12] = 0x08;
  for (int i = 0; i < PAYLOAD; i++) payload[i] = (uint8_t)i;
  payload_sum = add_up(payload, PAYLOAD);
  open_sender(&s, arguments[2], arguments[3]);
  uint64_t sent = 0;
  double start = monotonic(), cpu = cpu_time(), next = start, interval = rate > 0 ? BATCH / rate : 0, at = start;
  while (at - start < seconds) {
    int taken = s.ring ? send_ring(&s) : send_messages(&s);
    sent += (uint64_t)taken;
    if (taken == 0) {
      struct pollfd waiting = {.fd = s.fd, .events = POLLOUT};
      (void)poll(&waiting, 1, 1);
    }
    if (interval > 0) {
      next += interval;
      struct timespec until = {.tv_sec = (time_t)next, .tv_nsec = (long)((next - (double)(time_t)next) * 1e9)};
      clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
    }
    at = monotonic();
  }
  printf("%llu %.1f %.0f\n", (unsigned long long)sent, (cpu_time() - cpu) * 1e9 / (double)(sent ? sent : 1),
         (double)sent / (at - start));
  return sent ? 0 : 1;
}

// MARK: receiving

static void receive_messages(int fd, struct window *w, size_t header) {
  static uint8_t arena[MESSAGES][FRAME];
  struct mmsghdr messages[MESSAGES];
  struct iovec pieces[MESSAGES];
  struct sockaddr_storage names[MESSAGES];
  for (;;) {
    struct pollfd waiting = {.fd = fd, .events = POLLIN};
    (void)poll(&waiting, 1, 100);
    for (;;) {
      for (int i = 0; i < MESSAGES; i++) {
        pieces[i] = (struct iovec){arena[i], FRAME};
        messages[i].msg_hdr = (struct msghdr){.msg_name = &names[i], .msg_namelen = sizeof names[i],
                                              .msg_iov = &pieces[i], .msg_iovlen = 1};
      }
      int got = recvmmsg(fd, messages, MESSAGES, MSG_DONTWAIT, NULL);
      if (got <= 0) break;
      for (int i = 0; i < got; i++)
        if (messages[i].msg_len > header) window_count(w, arena[i] + header, messages[i].msg_len - header);
      window_check(w);
    }
    window_check(w);
  }
}

static void receive_ring(int fd, uint8_t *frames, struct window *w) {
  unsigned slot = 0, since = 0;
  for (;;) {
    struct tpacket2_hdr *frame = (void *)(frames + (size_t)slot * FRAME);
    if (!(__atomic_load_n(&frame->tp_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER)) {
      window_check(w);
      since = 0;
      struct pollfd waiting = {.fd = fd, .events = POLLIN};
      (void)poll(&waiting, 1, 100);
      continue;
    }
    if (frame->tp_snaplen > HEADER)
      window_count(w, (uint8_t *)frame + frame->tp_mac + HEADER, frame->tp_snaplen - HEADER);
    __atomic_store_n(&frame->tp_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
    slot = (slot + 1) % FRAMES;
    if (++since == MESSAGES) {
      since = 0;
      window_check(w);
    }
  }
}

static int receive_main(char **arguments) {
  struct window w = {.seconds = atof(arguments[4])};
  const char *way = arguments[2];
  int raw = !strcmp(way, "raw"), ring = !strcmp(way, "ring"), room = 4 << 20;
  int fd = raw ? socket(AF_INET, SOCK_RAW, IPPROTO_ICMP) : socket(AF_PACKET, SOCK_RAW, 0);
  need_or_absent(fd >= 0, "socket");
  need(setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room) == 0, "SO_RCVBUFFORCE");
  uint8_t *frames = ring ? map_ring(fd, PACKET_RX_RING) : NULL;
  if (!raw) bind_packets(fd, arguments[3], ETH_P_IP);
  ready();
  if (ring) receive_ring(fd, frames, &w);
  receive_messages(fd, &w, raw ? 28 : HEADER);
  return 1;
}

int main(int count, char **arguments) {
  if (count == 9 && !strcmp(arguments[1], "send")) return send_main(arguments);
  if (count == 5 && !strcmp(arguments[1], "receive")) return receive_main(arguments);
  fputs("usage: icmp send raw|hdrincl|packet|packet-bypass|ring|ring-bypass DEVICE FROM TO MAC RATE SECONDS\n"
        "       icmp receive raw|packet|ring DEVICE SECONDS\n", stderr);
  return 2;
}
