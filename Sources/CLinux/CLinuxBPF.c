#define _GNU_SOURCE
#include "CLinuxBPF.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

int64_t culvert_bpf(int command, void *attributes, uint32_t size) {
  long result = syscall(SYS_bpf, command, attributes, size);
  return result < 0 ? -errno : result;
}
