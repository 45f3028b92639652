#define _GNU_SOURCE
#include "CLinuxNet.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

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
