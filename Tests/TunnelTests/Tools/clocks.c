/* Loaded into a program (LD_PRELOAD): its clocks are ahead by what a file says, and it may be told that there is no
 * IPv6. A machine cannot be put to sleep for a test.
 *
 * CULVERT_CLOCKS names a file of two numbers of 64 bits: nanoseconds that the clock of the machine's life is ahead,
 * which goes on in sleep, and that the wall clock is. CULVERT_NO_IPV6 is set for a machine without. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *ahead;
static int (*real_clock)(clockid_t, struct timespec *);
static int (*real_socket)(int, int, int);

__attribute__((constructor)) static void begin(void) {
  real_clock = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
  real_socket = (int (*)(int, int, int))dlsym(RTLD_NEXT, "socket");
  const char *path = getenv("CULVERT_CLOCKS");
  if (!path) return;
  int file = open(path, O_RDWR | O_CLOEXEC);
  if (file < 0) return;
  void *memory = mmap(0, 16, PROT_READ, MAP_SHARED, file, 0);
  close(file);
  if (memory != MAP_FAILED) ahead = memory;
}

int clock_gettime(clockid_t id, struct timespec *time) {
  int code = real_clock(id, time);
  if (code != 0 || !ahead || (id != CLOCK_BOOTTIME && id != CLOCK_REALTIME)) return code;
  int64_t now = time->tv_sec * 1000000000ll + time->tv_nsec + ahead[id == CLOCK_REALTIME];
  time->tv_sec = now / 1000000000;
  time->tv_nsec = now % 1000000000;
  return 0;
}

int socket(int domain, int type, int protocol) {
  if (domain == AF_INET6 && getenv("CULVERT_NO_IPV6")) {
    errno = EAFNOSUPPORT;
    return -1;
  }
  return real_socket(domain, type, protocol);
}
