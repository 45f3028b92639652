#ifndef CULVERT_WIDE_CHACHA_POLY_H
#define CULVERT_WIDE_CHACHA_POLY_H

// ChaCha20-Poly1305 (RFC 8439) without associated data, with the 512-bit instructions of x86-64 (AVX-512, and IFMA for
// Poly1305), for packets. BoringSSL has it with 256-bit ones at most.
//
// Nothing here branches or looks up by a secret: additions, rotations, multiplications, and a comparison of the whole tag.
// `text` has 16 bytes more than `count`, for the tag; the nonce is four zero bytes and `nonce`, little-endian. The text is
// shorter than 2^32 blocks of 64 bytes.

#include <stddef.h>
#include <stdint.h>

/// Whether the processor and the kernel have what the others need.
int culvert_wide_is_there(void);

void culvert_wide_seal(const void *key, uint64_t nonce, void *text, size_t count);

/// 0 when the tag is wrong; the text is as it was then.
int culvert_wide_open(const void *key, uint64_t nonce, void *text, size_t count);

#endif
