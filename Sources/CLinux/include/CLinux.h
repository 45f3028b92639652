// Thin C over the Linux calls that Swift cannot make: epoll (absent from the Glibc module), messages with control data,
// variadic ioctl and fcntl. No logic lives here beyond packing and unpacking structures; every function returns what the
// system call returned, with errno set.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#if __has_include("CLinuxNet.h")
#include "CLinuxBPF.h"
#include "CLinuxNet.h"
#endif

// MARK: epoll

enum {
  culvert_readable = 0x001,
  culvert_writable = 0x004,
  culvert_error = 0x008,
  culvert_hangup = 0x010,
  culvert_peer_hangup = 0x2000,
  culvert_edge_triggered = 0x40000000,
};

struct culvert_epoll_event {
  uint32_t events;
  uint64_t token;
};

int culvert_epoll_create(void);
int culvert_epoll_add(int epoll, int fd, uint32_t events, uint64_t token);
int culvert_epoll_modify(int epoll, int fd, uint32_t events, uint64_t token);
int culvert_epoll_remove(int epoll, int fd);
/// timeout_ns below 0 waits for ever.
int culvert_epoll_wait(int epoll, struct culvert_epoll_event *out, int capacity, int64_t timeout_ns);
int culvert_eventfd(void);
/// The next signal of a culvert_signalfd, or 0.
int culvert_next_signal(int fd);
/// A descriptor that reads the given signals, which are blocked for the calling thread and its later children.
int culvert_signalfd(const int *signals, int count);
/// Unblocks every signal that culvert_signalfd blocked; for a child before it executes a program.
void culvert_unblock_signals(void);
int64_t culvert_monotonic_ns(void);
/* As the monotonic clock, but it goes on while the machine sleeps. */
int64_t culvert_boottime_ns(void);
/* A descriptor that becomes readable when the wall clock is set, and when the machine wakes from sleep: what waits for
 * the clock above waits too long then, as the kernel counts waits by the clock that stops. */
int culvert_clock_watch(void);
/* To be called whenever it was readable. */
void culvert_clock_watch_again(int descriptor);
int64_t culvert_realtime_ns(void);

// MARK: addresses

/// family is 4, 6 or 0 (absent); the address is in network order, left-aligned; the port in host order.
struct culvert_endpoint {
  uint8_t address[16];
  uint32_t scope;
  uint16_t port;
  uint8_t family;
};

// MARK: sockets

/// A non-blocking, close-on-exec socket. kind: 0 TCP, 1 UDP, 2 raw ICMP or ICMPv6.
int culvert_socket(int family, int kind);
int culvert_bind(int fd, const struct culvert_endpoint *local);
int culvert_connect(int fd, const struct culvert_endpoint *remote);
int culvert_local_endpoint(int fd, struct culvert_endpoint *out);
int culvert_remote_endpoint(int fd, struct culvert_endpoint *out);
int culvert_accept(int listener, struct culvert_endpoint *remote);
int culvert_set_option(int fd, int level, int name, int value);
int culvert_get_error(int fd);
int culvert_bind_to_device(int fd, const char *name);
/// Control messages with packet info, traffic class and, for UDP, UDP_GRO. Returns a bit set of what was granted:
/// 1 packet info, 2 traffic class, 4 GRO.
int culvert_request_packet_info(int fd, int family, int udp);
/// Whether what is sent from now on may be cut in pieces: 0 as the kernel knows the path, 1 never, and never mind what it
/// knows, 2 by anybody.
void culvert_set_fragmentation(int fd, int family, int mode);

struct culvert_received {
  struct culvert_endpoint remote;
  struct culvert_endpoint local;  // the destination address of the packet; its port is 0
  uint32_t interface;
  uint32_t length;
  uint32_t segment;  // the size of each datagram in a GRO buffer; equal to length for a single one
  uint8_t ecn;
  uint8_t truncated;
};

/// Reads up to count (at most 64) messages, message i to base + i * stride.
int culvert_receive(int fd, uint8_t *base, size_t stride, int count, struct culvert_received *out);

/// An ICMP or ICMPv6 error about a datagram that a socket sent.
struct culvert_icmp_error {
  struct culvert_endpoint remote;  // where the datagram was sent
  uint32_t mtu;  // of the next link, where the error says
  uint8_t type;
  uint8_t code;
};

/// Makes a UDP socket keep the ICMP errors about what it sent.
void culvert_request_errors(int fd, int family);

/// Takes the next error that the kernel keeps: 1 for one that came as ICMP, 0 for another, -1 when there is none.
int culvert_receive_error(int fd, struct culvert_icmp_error *out);

/// Sends one buffer of back-to-back datagrams of segment bytes each (the last may be shorter). remote may be NULL on a
/// connected socket, local NULL for the kernel's choice. segment 0 sends a single datagram. ecn are the two bits for the
/// IP header, which is one of IPv4 or not, whatever the socket is.
ssize_t culvert_send_segments(
  int fd, const uint8_t *bytes, size_t length, uint32_t segment, const struct culvert_endpoint *remote,
  const struct culvert_endpoint *local, uint32_t interface, uint8_t ecn, int is_ipv4);

struct culvert_piece {
  const uint8_t *bytes;
  size_t length;
};

/// As culvert_send_segments, of count pieces (at most 1024) that are put together.
ssize_t culvert_send_gathered(
  int fd, const struct culvert_piece *pieces, int count, uint32_t segment, const struct culvert_endpoint *remote,
  const struct culvert_endpoint *local, uint8_t ecn, int is_ipv4);

/// Sends count (at most 64) messages of two pieces each (a header and a payload) to one remote; returns how many.
int culvert_send_pairs(
  int fd, const struct culvert_piece *pieces, int count, const struct culvert_endpoint *remote,
  const struct culvert_endpoint *local, uint32_t interface);

/// writev of count pieces (at most 1024).
ssize_t culvert_write_pieces(int fd, const struct culvert_piece *pieces, int count);

/// A socket filter on a raw ICMP socket: only messages of the one type or the other, with GOST's magic and the
/// acknowledgement flag as given; and the echo identifier, if identifier is not negative. header is the number of bytes before the
/// ICMP header as the filter sees it: variable for IPv4 (pass -1), 0 for IPv6.
int culvert_filter_envelope(
  int fd, int ipv4, uint8_t type, uint8_t other_type, int acknowledgement, int identifier);

// MARK: plain streams

/// A non-blocking pipe that holds up to size bytes if the system lets it; fds[0] is read. -1 with errno.
///
/// From the first one on SIGPIPE no longer ends the process: splice raises it when the other end of a connection has
/// gone, and has no flag against that as send has.
int culvert_pipe(int fds[2], int size);
/// Moves up to length bytes between a socket and a pipe without blocking; -1 with errno.
ssize_t culvert_splice(int from, int to, size_t length);
/// The smoothed round trip of a TCP connection in microseconds; -1 when there is none.
int64_t culvert_tcp_round_trip_us(int fd);
/// The path MTU of a connected socket in bytes, as the kernel knows it now; -1 where it does not say. family: 4 or 6.
int culvert_path_mtu(int fd, int family);

// MARK: names

/// Resolves a name into at most capacity addresses; family 0 asks for both. Blocks. Returns the number of addresses,
/// or a negative getaddrinfo error.
int culvert_resolve(const char *host, int family, struct culvert_endpoint *out, int capacity);
/// The same for one family alone, 4 or 6: neither are addresses of the other one asked for, nor name servers that have one.
/// CULVERT_NO_NAME_SERVER where only such are configured and the name is in no file of this host.
int culvert_resolve_only(const char *host, int family, struct culvert_endpoint *out, int capacity);
#define CULVERT_NO_NAME_SERVER (-10001)
const char *culvert_resolve_error(int code);

// MARK: local sockets

int culvert_unix_listen(const char *path);
int culvert_unix_connect(const char *path);

// MARK: processes

/// Starts a program, found along PATH unless there is a slash in its path, with a list of arguments that ends with NULL
/// and no signal blocked; its number, or -1 with errno.
pid_t culvert_start_program(const char *path, char *const arguments[]);
/// Has the kernel send this process a signal when the thread that started it ends.
int culvert_die_with_parent(int signal);
/// Goes to the background: the process that was called lives until `culvert_detached` is called in the new one, in which
/// this returns a descriptor to hand to it, or until that ends, with its exit code. Before any thread is made; -1 with
/// errno.
int culvert_detach(void);
/// Everything is up: lets go of the terminal and the working directory, and of the process that waits.
int culvert_detached(int word);
/// A descriptor that becomes readable when something in a directory is removed; -1 with errno.
int culvert_watch_removal(const char *directory);
/// Reads what there is and forgets it.
void culvert_drain(int fd);
/// Runs a program, found along PATH, with a list of arguments that ends with NULL, and waits for it; -1 with errno, else
/// the wait status.
int culvert_run_program(char *const arguments[]);

// MARK: memory

/// Gives the pages of the heap that hold nothing back to the system: milliseconds for a large heap.
void culvert_return_free_heap(void);
/// Gives free heap back, and unmaps the pages of all loaded code and constants; those that are used again come back from
/// the page cache.
void culvert_forget_startup(void);

// MARK: A last breath

/// From now on a program that dies by a signal of its own making (a trap, a bad access, abort) writes what is in the
/// buffer to the descriptor first, and then dies as it would have. -1 takes that back. One buffer a process.
void culvert_crash_buffer(int fd, const void *buffer);
/// The bytes of the buffer that are in use, and a new number of them.
size_t culvert_crash_used(void);
void culvert_crash_use(size_t count);
