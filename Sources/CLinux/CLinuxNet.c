#define _GNU_SOURCE
#include "CLinuxNet.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>

int culvert_tun_open(char name[16], int vnet_header, int *opened) {
  int descriptor = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
  *opened = descriptor >= 0;
  if (descriptor < 0) return -errno;
  struct ifreq request;
  memset(&request, 0, sizeof request);
  /* The exclusive flag keeps us from taking over a persistent device that somebody else configured. */
  request.ifr_flags = (short)(IFF_TUN | IFF_NO_PI | (vnet_header ? IFF_VNET_HDR : 0) | IFF_TUN_EXCL);
  memcpy(request.ifr_name, name, sizeof request.ifr_name - 1);
  if (ioctl(descriptor, TUNSETIFF, &request) < 0) {
    int code = errno;
    close(descriptor);
    return -code;
  }
  if (vnet_header) {
    int size = 10;
    if (ioctl(descriptor, TUNSETVNETHDRSZ, &size) < 0) {
      int code = errno;
      close(descriptor);
      return -code;
    }
  }
  memcpy(name, request.ifr_name, sizeof request.ifr_name);
  name[15] = 0;
  return descriptor;
}

int culvert_tun_whereabouts(int descriptor, char name[16]) {
  struct ifreq request;
  memset(&request, 0, sizeof request);
  if (ioctl(descriptor, TUNGETIFF, &request) < 0) return -errno;
  memcpy(name, request.ifr_name, sizeof request.ifr_name);
  name[15] = 0;
  int space = ioctl(descriptor, TUNGETDEVNETNS);
  return space < 0 ? -errno : space;
}

int culvert_tun_set_offload(int descriptor, unsigned flags) {
  return ioctl(descriptor, TUNSETOFFLOAD, (unsigned long)flags) < 0 ? -errno : 0;
}

int culvert_netlink_open(int protocol, uint32_t groups, int nonblocking) {
  int descriptor = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | (nonblocking ? SOCK_NONBLOCK : 0), protocol);
  if (descriptor < 0) return -errno;
  int on = 1;
  /* Both are refinements: an older kernel refuses them and works without. */
  (void)setsockopt(descriptor, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on);
  (void)setsockopt(descriptor, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
  struct timeval patience = {.tv_sec = 5, .tv_usec = 0};
  (void)setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  struct sockaddr_nl address;
  memset(&address, 0, sizeof address);
  address.nl_family = AF_NETLINK;
  address.nl_groups = groups;
  if (bind(descriptor, (struct sockaddr *)&address, sizeof address) < 0) {
    int code = errno;
    close(descriptor);
    return -code;
  }
  return descriptor;
}

int64_t culvert_netlink_port(int descriptor) {
  struct sockaddr_nl address;
  socklen_t length = sizeof address;
  if (getsockname(descriptor, (struct sockaddr *)&address, &length) < 0) return -errno;
  return address.nl_pid;
}

ssize_t culvert_netlink_send(int descriptor, const void *bytes, size_t length) {
  struct sockaddr_nl kernel;
  memset(&kernel, 0, sizeof kernel);
  kernel.nl_family = AF_NETLINK;
  ssize_t count;
  do {
    count = sendto(descriptor, bytes, length, 0, (struct sockaddr *)&kernel, sizeof kernel);
  } while (count < 0 && errno == EINTR);
  return count < 0 ? -errno : count;
}

ssize_t culvert_netlink_receive(int descriptor, void *bytes, size_t capacity) {
  struct sockaddr_nl sender;
  socklen_t length = sizeof sender;
  memset(&sender, 0, sizeof sender);
  ssize_t count;
  do {
    count = recvfrom(descriptor, bytes, capacity, MSG_TRUNC, (struct sockaddr *)&sender, &length);
  } while (count < 0 ? errno == EINTR : sender.nl_pid != 0);
  if (count < 0) return -errno;
  if ((size_t)count > capacity) return -EMSGSIZE;
  return count;
}

const char *culvert_errno_name(int code) {
  const char *name = strerrorname_np(code);
  return name ? name : "unknown error";
}

int culvert_unshare_network(void) { return unshare(CLONE_NEWNET) < 0 ? -errno : 0; }

int culvert_enter_network(int descriptor) { return setns(descriptor, CLONE_NEWNET) < 0 ? -errno : 0; }

/* Runs in the child between clone and exec: only async-signal-safe calls. */
static void start_child(const struct culvert_launch *launch) {
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  for (int number = 1; number < 32; number++) signal(number, SIG_DFL);
  if (launch->death_signal) prctl(PR_SET_PDEATHSIG, launch->death_signal);
  setsid();
  /* Descriptors move out of the way first, so that none overwrites another on its way to its place. */
  int from[4] = {launch->input, launch->output, launch->error, launch->control};
  for (int place = 0; place < 4; place++) {
    if (from[place] < 0 && place < 3) from[place] = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (from[place] >= 0) from[place] = fcntl(from[place], F_DUPFD_CLOEXEC, 16);
  }
  for (int place = 0; place < 4; place++) {
    if (from[place] >= 0) dup2(from[place], place);
  }
  syscall(SYS_close_range, launch->control >= 0 ? 4u : 3u, ~0u, 0u);
  execve(launch->path, launch->arguments, environ);
  _exit(127);
}

int culvert_launch(const struct culvert_launch *launch) {
  /* The raw call, because fork() takes no namespaces; the child calls nothing that would notice. */
  long child = syscall(SYS_clone, (unsigned long)launch->namespaces | SIGCHLD, 0, 0, 0, 0);
  if (child < 0) return -errno;
  if (child == 0) start_child(launch);
  return (int)child;
}

int culvert_make_mounts_private(void) {
  return mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ? -errno : 0;
}

int culvert_mount(const char *what, const char *where, const char *kind, const char *options) {
  return mount(what, where, kind, MS_NOSUID | MS_NODEV, options) < 0 ? -errno : 0;
}

int culvert_bind_mount(const char *what, const char *where) {
  return mount(what, where, NULL, MS_BIND, NULL) < 0 ? -errno : 0;
}

int culvert_set_hostname(const char *name) { return sethostname(name, strlen(name)) < 0 ? -errno : 0; }

int culvert_memory_file(const char *name) {
  int descriptor = memfd_create(name, MFD_CLOEXEC);
  return descriptor < 0 ? -errno : descriptor;
}

int culvert_packet_open(int interface) {
  int descriptor = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (descriptor < 0) return -errno;
  int on = 1;
  int room = 32 << 20;
  (void)setsockopt(descriptor, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
  struct sockaddr_ll address;
  memset(&address, 0, sizeof address);
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);
  address.sll_ifindex = interface;
  if (setsockopt(descriptor, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof on) < 0 ||
      bind(descriptor, (struct sockaddr *)&address, sizeof address) < 0) {
    int code = errno;
    close(descriptor);
    return -code;
  }
  return descriptor;
}

int culvert_packet_drops(int descriptor) {
  struct tpacket_stats statistics;
  socklen_t length = sizeof statistics;
  if (getsockopt(descriptor, SOL_PACKET, PACKET_STATISTICS, &statistics, &length) < 0) return -errno;
  return (int)statistics.tp_drops;
}
