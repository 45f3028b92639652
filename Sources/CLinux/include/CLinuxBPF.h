/* The bpf(2) system call, for which the C library has no function. */
#ifndef CULVERT_CLINUXBPF_H
#define CULVERT_CLINUXBPF_H

#include <stdint.h>

/* Zero or more, which for some commands is a descriptor, or a negative errno. `attributes` is the command's part of
 * union bpf_attr, `size` its length in bytes; what the kernel knows beyond that is zero. */
int64_t culvert_bpf(int command, void *attributes, uint32_t size);

#endif
