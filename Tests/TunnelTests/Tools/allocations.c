// Counts the allocations of a program that it is loaded into first (LD_PRELOAD), by who asked for them.
//
// The numbers stand in a file that the test maps as well: `struct counts`, at the path in CULVERT_ALLOCATIONS. Who
// asked is found from the return address: ngtcp2, GnuTLS with what it stands on, or the program itself, which is all
// the rest (Swift's runtime is linked into it). The stacks of the program's own allocations are kept while the test
// sets `sites`: offsets into the program, for `llvm-symbolizer --obj=culvert OFFSET…`.
//
//   cc -shared -fPIC -O2 -o allocations.so allocations.c
#define _GNU_SOURCE
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum owner { program, ngtcp2, gnutls, owners };
enum { kept = 64, depth = 12, most_ranges = 32 };

struct site {
  _Atomic uint64_t key;
  _Atomic uint64_t count;
  uint64_t offsets[depth];
};

struct counts {
  _Atomic uint64_t calls[owners];
  _Atomic uint64_t sites;
  struct site table[kept];
};

// glibc's own names of what is replaced here: nothing has to be looked up, which would allocate.
extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

static struct counts *counts;
static struct range {
  uintptr_t start, end;
  enum owner owner;
} ranges[most_ranges];
static int range_count;
static uintptr_t program_start;
static __thread int inside;

static int note(struct dl_phdr_info *info, size_t size, void *first) {
  (void)size;
  if (*(int *)first) {
    // The first is the program.
    program_start = info->dlpi_addr;
    *(int *)first = 0;
    return 0;
  }
  static const char *const theirs[] = {"/libgnutls", "/libnettle", "/libhogweed", "/libgmp", "/libtasn1", "/libp11-kit"};
  enum owner owner = strstr(info->dlpi_name, "/libngtcp2") ? ngtcp2 : owners;
  for (unsigned i = 0; i < sizeof theirs / sizeof *theirs; i++)
    if (strstr(info->dlpi_name, theirs[i])) owner = gnutls;
  if (owner == owners || range_count == most_ranges) return 0;
  uintptr_t end = 0;
  for (int i = 0; i < info->dlpi_phnum; i++)
    if (info->dlpi_phdr[i].p_type == PT_LOAD && info->dlpi_phdr[i].p_vaddr + info->dlpi_phdr[i].p_memsz > end)
      end = info->dlpi_phdr[i].p_vaddr + info->dlpi_phdr[i].p_memsz;
  ranges[range_count++] = (struct range){info->dlpi_addr, info->dlpi_addr + end, owner};
  return 0;
}

__attribute__((constructor)) static void start(void) {
  const char *path = getenv("CULVERT_ALLOCATIONS");
  int first = 1;
  if (!path) return;
  dl_iterate_phdr(note, &first);
  // The first call loads the unwinder; later ones allocate nothing.
  void *warm[2];
  backtrace(warm, 2);
  int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (file < 0) return;
  if (ftruncate(file, sizeof(struct counts)) == 0) {
    void *place = mmap(NULL, sizeof(struct counts), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (place != MAP_FAILED) counts = place;
  }
  close(file);
}

static void keep(void) {
  void *stack[depth + 3];
  inside = 1;
  int found = backtrace(stack, depth + 3);
  inside = 0;
  uint64_t key = 1469598103934665603ull;
  for (int i = 3; i < found; i++) key = (key ^ (uintptr_t)stack[i]) * 1099511628211ull;
  for (unsigned i = 0; i < kept; i++) {
    struct site *site = &counts->table[(key + i) % kept];
    uint64_t empty = 0;
    if (atomic_compare_exchange_strong(&site->key, &empty, key)) {
      for (int j = 3; j < found; j++) site->offsets[j - 3] = (uintptr_t)stack[j] - program_start;
    } else if (empty != key) {
      continue;
    }
    atomic_fetch_add(&site->count, 1);
    return;
  }
}

static void count(void *caller) {
  if (!counts || inside) return;
  enum owner owner = program;
  for (int i = 0; i < range_count; i++)
    if ((uintptr_t)caller >= ranges[i].start && (uintptr_t)caller < ranges[i].end) owner = ranges[i].owner;
  atomic_fetch_add_explicit(&counts->calls[owner], 1, memory_order_relaxed);
  if (owner == program && atomic_load_explicit(&counts->sites, memory_order_relaxed)) keep();
}

void *malloc(size_t size) {
  count(__builtin_return_address(0));
  return __libc_malloc(size);
}

void *calloc(size_t number, size_t size) {
  count(__builtin_return_address(0));
  return __libc_calloc(number, size);
}

void *realloc(void *old, size_t size) {
  count(__builtin_return_address(0));
  return __libc_realloc(old, size);
}

void *memalign(size_t alignment, size_t size) {
  count(__builtin_return_address(0));
  return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
  count(__builtin_return_address(0));
  return __libc_memalign(alignment, size);
}

int posix_memalign(void **place, size_t alignment, size_t size) {
  count(__builtin_return_address(0));
  void *found = __libc_memalign(alignment, size);
  if (!found) return ENOMEM;
  *place = found;
  return 0;
}
