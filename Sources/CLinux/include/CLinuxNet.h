/* What Swift cannot say itself on the way to TUN devices, netlink and namespaces: variadic ioctl, macros with
 * arguments, structs with unions, and calls between clone and exec, where no Swift code may run.
 *
 * Every function returns a value of zero or more, or a negative errno: nothing here touches the global errno of the
 * caller's meaning, and no state is kept. */
#ifndef CULVERT_CLINUXNET_H
#define CULVERT_CLINUXNET_H

#include <linux/fib_rules.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdint.h>
#include <sys/types.h>

/* TUN_F_ values that older kernel headers lack. */
enum {
  CULVERT_TUN_F_CSUM = 0x01,
  CULVERT_TUN_F_TSO4 = 0x02,
  CULVERT_TUN_F_TSO6 = 0x04,
  CULVERT_TUN_F_USO4 = 0x20,
  CULVERT_TUN_F_USO6 = 0x40,
};

/* Opens /dev/net/tun, nonblocking, and makes a device. `name` holds the wished name or is empty, and holds the
 * kernel's choice afterwards. `*opened` tells whether /dev/net/tun itself could be opened. */
int culvert_tun_open(char name[16], int vnet_header, int *opened);
int culvert_tun_set_offload(int descriptor, unsigned flags);
/* The network namespace that a device is in by now, as a descriptor, and its name there: others may move and rename it.
 * -EBADFD when the device is gone. */
int culvert_tun_whereabouts(int descriptor, char name[16]);

/* A netlink socket, close-on-exec, with extended acknowledgements where the kernel has them. A blocking one gives up
 * with -EAGAIN after five seconds: the kernel answers at once or never. */
int culvert_netlink_open(int protocol, uint32_t groups, int nonblocking);
/* The address that the kernel gave the socket. */
int64_t culvert_netlink_port(int descriptor);
ssize_t culvert_netlink_send(int descriptor, const void *bytes, size_t length);
/* Receives one datagram from the kernel; what other programs send is skipped. */
ssize_t culvert_netlink_receive(int descriptor, void *bytes, size_t capacity);

/* "EPERM" for EPERM, or "error 4711". */
const char *culvert_errno_name(int code);

/* How a child process starts, in this process's environment. Descriptors of -1 are /dev/null, `control` becomes descriptor 3 of the child unless it
 * is -1, and all others close. */
struct culvert_launch {
  const char *path;
  char *const *arguments;
  int input;
  int output;
  int error;
  int control;
  /* CLONE_NEW flags: the child is born into new namespaces of these kinds. */
  uint64_t namespaces;
  /* Sent to the child when the thread that starts it ends; 0 for none. */
  int death_signal;
};

enum {
  CULVERT_NEW_MOUNTS = 0x00020000,
  CULVERT_NEW_HOSTNAME = 0x04000000,
  CULVERT_NEW_IPC = 0x08000000,
  CULVERT_NEW_PROCESSES = 0x20000000,
  CULVERT_NEW_NETWORK = 0x40000000,
};

/* Starts a program in a session of its own, with default signal handling. Returns its process id. */
int culvert_launch(const struct culvert_launch *launch);

int culvert_make_mounts_private(void);
int culvert_mount(const char *what, const char *where, const char *kind, const char *options);
int culvert_bind_mount(const char *what, const char *where);
int culvert_set_hostname(const char *name);

/* An anonymous file in memory. */
int culvert_memory_file(const char *name);

/* A socket that sees every frame of an interface, both ways, with a virtio header before each: 10 bytes that tell how
 * many segments an offloaded frame stands for. Nonblocking. */
int culvert_packet_open(int interface);
/* Frames that the socket had no room for since the last call. */
int culvert_packet_drops(int descriptor);

int culvert_unshare_network(void);
int culvert_enter_network(int descriptor);

#endif
