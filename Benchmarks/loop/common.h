// What both programs here share: clocks, the CPU time of this process, and ending with a clear line.
#pragma once
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

enum { PAYLOAD = 1420 };

static inline void need(int condition, const char *what) {
  if (condition) return;
  fprintf(stderr, "%s: %s\n", what, strerror(errno));
  exit(1);
}

/// The kernel lacks or forbids this way: exit status 3, which the runner shows as "not to be had here".
static inline void need_or_absent(int condition, const char *what) {
  if (condition) return;
  fprintf(stderr, "%s: %s\n", what, strerror(errno));
  exit(3);
}

static inline double monotonic(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/// User and system time of all threads, in seconds. The sum is exact; only its parts are guessed from ticks.
static inline double cpu_time(void) {
  struct rusage u;
  getrusage(RUSAGE_SELF, &u);
  return (double)u.ru_utime.tv_sec + (double)u.ru_stime.tv_sec +
         (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/// Counts what arrives for some seconds after the first of it, and prints "datagrams cpu-ns-each a-second".
struct window {
  double seconds, started, cpu;
  uint64_t datagrams, bytes;
  unsigned touched;
};

/// One datagram: its length and its first byte are looked at, as any protocol above would.
static inline void window_count(struct window *w, const uint8_t *bytes, size_t length) {
  w->datagrams++;
  w->bytes += length;
  w->touched += bytes[0];
}

/// To be called after each batch; prints and ends the program when the time is over.
static inline void window_check(struct window *w) {
  double at = monotonic();
  if (w->started == 0 && w->datagrams > 0) {
    w->started = at;
    w->cpu = cpu_time();
    w->datagrams = w->bytes = 0;
  }
  if (w->started == 0 || at - w->started < w->seconds) return;
  double each = w->datagrams ? (cpu_time() - w->cpu) * 1e9 / (double)w->datagrams : 0;
  printf("%llu %.1f %.0f\n", (unsigned long long)w->datagrams, each, (double)w->datagrams / (at - w->started));
  fflush(stdout);
  exit(w->datagrams && w->bytes / w->datagrams >= PAYLOAD ? 0 : 1);
}

static inline void ready(void) {
  puts("ready");
  fflush(stdout);
}
