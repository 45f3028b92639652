#include "WideChaChaPoly.h"

#if defined(__x86_64__)

#include <immintrin.h>
#include <string.h>

#define WIDE __attribute__((target("avx512f,avx512vl,avx512bw,avx512dq,avx512ifma")))
#define INLINE static inline __attribute__((always_inline))

int culvert_wide_is_there(void) {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512ifma");
}

// ChaCha20 (RFC 8439, section 2.3): sixteen blocks at a time, one word of each in a register. An instruction waits for the
// one before it, so two such sets side by side take little longer than one.

enum { block_size = 64, set_blocks = 16 };

#define QUARTER(a, b, c, d)                               \
  for (int s = 0; s < sets; s++) {                        \
    x[s][a] = _mm512_add_epi32(x[s][a], x[s][b]);         \
    x[s][d] = _mm512_rol_epi32(_mm512_xor_si512(x[s][d], x[s][a]), 16); \
    x[s][c] = _mm512_add_epi32(x[s][c], x[s][d]);         \
    x[s][b] = _mm512_rol_epi32(_mm512_xor_si512(x[s][b], x[s][c]), 12); \
    x[s][a] = _mm512_add_epi32(x[s][a], x[s][b]);         \
    x[s][d] = _mm512_rol_epi32(_mm512_xor_si512(x[s][d], x[s][a]), 8);  \
    x[s][c] = _mm512_add_epi32(x[s][c], x[s][d]);         \
    x[s][b] = _mm512_rol_epi32(_mm512_xor_si512(x[s][b], x[s][c]), 7);  \
  }

// The blocks from `counter` on, each in a register; `sets` is a constant, 1 or 2.
WIDE INLINE void make_blocks(const uint32_t key[8], uint64_t nonce, uint32_t counter, int sets, __m512i *block) {
  const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const uint32_t start[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574, key[0],  key[1], key[2],          key[3],
                              key[4],     key[5],     key[6],     key[7],     counter, 0,      (uint32_t)nonce,
                              (uint32_t)(nonce >> 32)};
  __m512i x[2][16];
#pragma clang loop unroll(full)
  for (int s = 0; s < sets; s++) {
    for (int i = 0; i < 16; i++) x[s][i] = _mm512_set1_epi32((int)start[i]);
    x[s][12] = _mm512_add_epi32(x[s][12], _mm512_add_epi32(lanes, _mm512_set1_epi32(s * set_blocks)));
  }
  for (int round = 0; round < 10; round++) {
    QUARTER(0, 4, 8, 12);
    QUARTER(1, 5, 9, 13);
    QUARTER(2, 6, 10, 14);
    QUARTER(3, 7, 11, 15);
    QUARTER(0, 5, 10, 15);
    QUARTER(1, 6, 11, 12);
    QUARTER(2, 7, 8, 13);
    QUARTER(3, 4, 9, 14);
  }
#pragma clang loop unroll(full)
  for (int s = 0; s < sets; s++) {
    for (int i = 0; i < 16; i++) x[s][i] = _mm512_add_epi32(x[s][i], _mm512_set1_epi32((int)start[i]));
    x[s][12] = _mm512_add_epi32(x[s][12], _mm512_add_epi32(lanes, _mm512_set1_epi32(s * set_blocks)));
    // Words of one block, side by side: first four of them, then all.
    __m512i y[4][4];
    for (int g = 0; g < 4; g++) {
      const __m512i low = _mm512_unpacklo_epi32(x[s][4 * g], x[s][4 * g + 1]);
      const __m512i high = _mm512_unpackhi_epi32(x[s][4 * g], x[s][4 * g + 1]);
      const __m512i low2 = _mm512_unpacklo_epi32(x[s][4 * g + 2], x[s][4 * g + 3]);
      const __m512i high2 = _mm512_unpackhi_epi32(x[s][4 * g + 2], x[s][4 * g + 3]);
      y[g][0] = _mm512_unpacklo_epi64(low, low2);
      y[g][1] = _mm512_unpackhi_epi64(low, low2);
      y[g][2] = _mm512_unpacklo_epi64(high, high2);
      y[g][3] = _mm512_unpackhi_epi64(high, high2);
    }
    for (int i = 0; i < 4; i++) {
      const __m512i a = _mm512_shuffle_i32x4(y[0][i], y[1][i], 0x44);
      const __m512i b = _mm512_shuffle_i32x4(y[2][i], y[3][i], 0x44);
      const __m512i c = _mm512_shuffle_i32x4(y[0][i], y[1][i], 0xee);
      const __m512i d = _mm512_shuffle_i32x4(y[2][i], y[3][i], 0xee);
      block[s * set_blocks + i] = _mm512_shuffle_i32x4(a, b, 0x88);
      block[s * set_blocks + 4 + i] = _mm512_shuffle_i32x4(a, b, 0xdd);
      block[s * set_blocks + 8 + i] = _mm512_shuffle_i32x4(c, d, 0x88);
      block[s * set_blocks + 12 + i] = _mm512_shuffle_i32x4(c, d, 0xdd);
    }
  }
}

// As many blocks as a text of so many bytes needs, but two sets at most; how many that was.
WIDE INLINE int make_enough(const uint32_t key[8], uint64_t nonce, uint32_t counter, size_t bytes, __m512i *block) {
  if (bytes <= set_blocks * block_size) {
    make_blocks(key, nonce, counter, 1, block);
    return set_blocks;
  }
  make_blocks(key, nonce, counter, 2, block);
  return 2 * set_blocks;
}

// Mixes blocks into the text in place, as far as either goes; how many bytes that was.
WIDE INLINE size_t mix(uint8_t *text, size_t count, const __m512i *block, int blocks) {
  size_t done = 0;
  int i = 0;
  for (; i < blocks && count - done >= block_size; i++, done += block_size)
    _mm512_storeu_si512(text + done, _mm512_xor_si512(_mm512_loadu_si512(text + done), block[i]));
  if (i < blocks && done < count) {
    const __mmask64 mask = (1ULL << (count - done)) - 1;
    const __m512i bytes = _mm512_maskz_loadu_epi8(mask, text + done);
    _mm512_mask_storeu_epi8(text + done, mask, _mm512_xor_si512(bytes, block[i]));
    done = count;
  }
  return done;
}

// Poly1305 (RFC 8439, section 2.5) in limbs of 44, 44 and 42 bits, modulo 2^130 - 5. What leaves the third limb comes
// back to the first times 5, a product of limbs that lies beyond it times 20.

enum { poly_block = 16, poly_lanes = 8 };

static const uint64_t mask44 = (1ULL << 44) - 1;
static const uint64_t mask42 = (1ULL << 42) - 1;

struct number {
  uint64_t limb[3];
};

INLINE uint64_t load64(const uint8_t *bytes) {
  uint64_t value;
  memcpy(&value, bytes, sizeof value);
  return value;
}

INLINE struct number multiply(struct number a, struct number b) {
  typedef unsigned __int128 wide;
  const uint64_t s1 = b.limb[1] * 20, s2 = b.limb[2] * 20;
  wide d0 = (wide)a.limb[0] * b.limb[0] + (wide)a.limb[1] * s2 + (wide)a.limb[2] * s1;
  wide d1 = (wide)a.limb[0] * b.limb[1] + (wide)a.limb[1] * b.limb[0] + (wide)a.limb[2] * s2;
  wide d2 = (wide)a.limb[0] * b.limb[2] + (wide)a.limb[1] * b.limb[1] + (wide)a.limb[2] * b.limb[0];
  struct number result;
  d1 += (uint64_t)(d0 >> 44);
  d2 += (uint64_t)(d1 >> 44);
  result.limb[0] = ((uint64_t)d0 & mask44) + (uint64_t)(d2 >> 42) * 5;
  result.limb[1] = ((uint64_t)d1 & mask44) + (result.limb[0] >> 44);
  result.limb[0] &= mask44;
  result.limb[2] = (uint64_t)d2 & mask42;
  return result;
}

// A full block of the text, with the bit above it.
INLINE struct number add_block(struct number h, const uint8_t *bytes) {
  const uint64_t low = load64(bytes), high = load64(bytes + 8);
  h.limb[0] += low & mask44;
  h.limb[1] += (low >> 44 | high << 20) & mask44;
  h.limb[2] += high >> 24 | 1ULL << 40;
  return h;
}

struct wide_number {
  __m512i limb[3];
};

// Times a number whose limbs 1 and 2 are there twenty times as well. Limbs of the result are below 2^44, 2^44 + 2^10
// and 2^42, and adding a block keeps them below the 52 bits that the instruction takes.
WIDE INLINE struct wide_number multiply_wide(
    struct wide_number h, const __m512i r[3], __m512i s1, __m512i s2) {
  const __m512i zero = _mm512_setzero_si512();
  const __m512i m44 = _mm512_set1_epi64((long long)mask44), m42 = _mm512_set1_epi64((long long)mask42);
#define PRODUCT(part, a, b, c)                                                                                      \
  _mm512_madd52##part##_epu64(                                                                                      \
      _mm512_madd52##part##_epu64(_mm512_madd52##part##_epu64(zero, h.limb[0], a), h.limb[1], b), h.limb[2], c)
  const __m512i low0 = PRODUCT(lo, r[0], s2, s1), high0 = PRODUCT(hi, r[0], s2, s1);
  __m512i low1 = PRODUCT(lo, r[1], r[0], s2), high1 = PRODUCT(hi, r[1], r[0], s2);
  __m512i low2 = PRODUCT(lo, r[2], r[1], r[0]), high2 = PRODUCT(hi, r[2], r[1], r[0]);
#undef PRODUCT
  // The upper halves begin at bit 52, which is bit 8 of the next limb, or bit 10 beyond the third.
  low1 = _mm512_add_epi64(low1, _mm512_add_epi64(_mm512_srli_epi64(low0, 44), _mm512_slli_epi64(high0, 8)));
  low2 = _mm512_add_epi64(low2, _mm512_add_epi64(_mm512_srli_epi64(low1, 44), _mm512_slli_epi64(high1, 8)));
  const __m512i over = _mm512_add_epi64(_mm512_srli_epi64(low2, 42), _mm512_slli_epi64(high2, 10));
  const __m512i five = _mm512_add_epi64(over, _mm512_slli_epi64(over, 2));
  const __m512i first = _mm512_add_epi64(_mm512_and_si512(low0, m44), five);
  struct wide_number result;
  result.limb[0] = _mm512_and_si512(first, m44);
  result.limb[1] = _mm512_add_epi64(_mm512_and_si512(low1, m44), _mm512_srli_epi64(first, 44));
  result.limb[2] = _mm512_and_si512(low2, m42);
  return result;
}

// Eight blocks, in the order 0 4 1 5 2 6 3 7. Lanes without `bit` are to be zero.
WIDE INLINE struct wide_number add_blocks(struct wide_number h, const uint8_t *bytes, __m512i bit) {
  const __m512i m44 = _mm512_set1_epi64((long long)mask44);
  const __m512i front = _mm512_loadu_si512(bytes), back = _mm512_loadu_si512(bytes + 64);
  const __m512i low = _mm512_unpacklo_epi64(front, back), high = _mm512_unpackhi_epi64(front, back);
  const __m512i middle = _mm512_or_si512(_mm512_srli_epi64(low, 44), _mm512_slli_epi64(high, 20));
  h.limb[0] = _mm512_add_epi64(h.limb[0], _mm512_and_si512(low, m44));
  h.limb[1] = _mm512_add_epi64(h.limb[1], _mm512_and_si512(middle, m44));
  h.limb[2] = _mm512_add_epi64(h.limb[2], _mm512_or_si512(_mm512_srli_epi64(high, 24), bit));
  return h;
}

// The sum over a text of so many blocks, the last of which is that of the lengths: more than sixteen of them.
//
// Eight sums run side by side, each over every eighth block. Where the number of blocks is not one of eights, the first
// sums begin with a zero, which adds nothing.
WIDE static struct number sum_wide(struct number r, const uint8_t *text, size_t count, size_t blocks) {
  enum { group = poly_lanes * poly_block };
  struct number power[poly_lanes];
  power[0] = r;
  power[1] = multiply(r, r);
  power[2] = multiply(power[1], r);
  power[3] = multiply(power[1], power[1]);
  for (int i = 0; i < 4; i++) power[4 + i] = multiply(power[3], power[i]);

  const size_t empty = (poly_lanes - blocks % poly_lanes) % poly_lanes;
  const __m512i bit = _mm512_set1_epi64(1LL << 40);
  const __m512i order = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
  const __mmask8 filled = _mm512_cmpge_epu64_mask(order, _mm512_set1_epi64((long long)empty));

  uint8_t part[group] = {0};
  size_t done = (poly_lanes - empty) * poly_block;
  memcpy(part + empty * poly_block, text, done);
  struct wide_number h = {{_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()}};
  h = add_blocks(h, part, _mm512_maskz_mov_epi64(filled, bit));

  __m512i factor[3];
  for (int i = 0; i < 3; i++) factor[i] = _mm512_set1_epi64((long long)power[7].limb[i]);
  const __m512i twenty = _mm512_set1_epi64(20);
  const __m512i s1 = _mm512_mullo_epi64(factor[1], twenty), s2 = _mm512_mullo_epi64(factor[2], twenty);
  while (done + group <= count) {
    h = add_blocks(multiply_wide(h, factor, s1, s2), text + done, bit);
    done += group;
  }
  memset(part, 0, sizeof part);
  memcpy(part, text + done, count - done);
  const uint64_t length = count;
  memcpy(part + group - 8, &length, 8);
  h = add_blocks(multiply_wide(h, factor, s1, s2), part, bit);

  // Each sum times what it lags behind the last.
  for (int i = 0; i < 3; i++)
    factor[i] = _mm512_setr_epi64(
        (long long)power[7].limb[i], (long long)power[3].limb[i], (long long)power[6].limb[i],
        (long long)power[2].limb[i], (long long)power[5].limb[i], (long long)power[1].limb[i],
        (long long)power[4].limb[i], (long long)power[0].limb[i]);
  h = multiply_wide(h, factor, _mm512_mullo_epi64(factor[1], twenty), _mm512_mullo_epi64(factor[2], twenty));
  struct number sum;
  for (int i = 0; i < 3; i++) sum.limb[i] = (uint64_t)_mm512_reduce_add_epi64(h.limb[i]);
  return sum;
}

static struct number sum_narrow(struct number r, const uint8_t *text, size_t count) {
  struct number h = {{0, 0, 0}};
  size_t done = 0;
  for (; done + poly_block <= count; done += poly_block) h = multiply(add_block(h, text + done), r);
  uint8_t part[poly_block] = {0};
  if (done < count) {
    memcpy(part, text + done, count - done);
    h = multiply(add_block(h, part), r);
    memset(part, 0, sizeof part);
  }
  const uint64_t length = count;
  memcpy(part + 8, &length, 8);
  return multiply(add_block(h, part), r);
}

// The tag over a text without associated data (RFC 8439, section 2.8).
WIDE static void make_tag(const uint8_t key[32], const uint8_t *text, size_t count, uint8_t tag[16]) {
  const uint64_t low = load64(key), high = load64(key + 8);
  const struct number r = {
      {low & 0xffc0fffffff, (low >> 44 | high << 20) & 0xfffffc0ffff, high >> 24 & 0x00ffffffc0f}};
  const size_t blocks = (count + poly_block - 1) / poly_block + 1;
  struct number h = blocks > 2 * poly_lanes ? sum_wide(r, text, count, blocks) : sum_narrow(r, text, count);

  // Carried through, twice as the first may begin a new one, and less the modulus where it is not below it.
  for (int i = 0; i < 2; i++) {
    h.limb[1] += h.limb[0] >> 44;
    h.limb[2] += h.limb[1] >> 44;
    h.limb[0] = (h.limb[0] & mask44) + (h.limb[2] >> 42) * 5;
    h.limb[1] &= mask44;
    h.limb[2] &= mask42;
  }
  h.limb[1] += h.limb[0] >> 44;
  h.limb[0] &= mask44;
  h.limb[2] += h.limb[1] >> 44;
  h.limb[1] &= mask44;
  struct number less = {{h.limb[0] + 5, 0, 0}};
  less.limb[1] = h.limb[1] + (less.limb[0] >> 44);
  less.limb[0] &= mask44;
  less.limb[2] = h.limb[2] + (less.limb[1] >> 44);
  less.limb[1] &= mask44;
  const uint64_t reached = 0 - (less.limb[2] >> 42);
  less.limb[2] &= mask42;
  for (int i = 0; i < 3; i++) h.limb[i] = (h.limb[i] & ~reached) | (less.limb[i] & reached);

  const unsigned __int128 sum = ((unsigned __int128)(h.limb[1] >> 20 | h.limb[2] << 24) << 64 | h.limb[0] | h.limb[1] << 44) +
                                ((unsigned __int128)load64(key + 24) << 64 | load64(key + 16));
  memcpy(tag, &sum, 16);
}

// The two together. The first block makes the key of the tag, the text begins with the second.

WIDE INLINE void mix_all(const uint32_t key[8], uint64_t nonce, uint8_t *text, size_t count, __m512i *block,
                         int blocks) {
  size_t done = mix(text, count, block + 1, blocks - 1);
  uint32_t counter = (uint32_t)blocks;
  while (done < count) {
    blocks = make_enough(key, nonce, counter, count - done, block);
    counter += (uint32_t)blocks;
    done += mix(text + done, count - done, block, blocks);
  }
}

WIDE void culvert_wide_seal(const void *key, uint64_t nonce, void *text, size_t count) {
  uint32_t words[8];
  memcpy(words, key, sizeof words);
  __m512i block[2 * set_blocks];
  const int blocks = make_enough(words, nonce, 0, block_size + count, block);
  uint8_t tag_key[block_size];
  _mm512_storeu_si512(tag_key, block[0]);
  mix_all(words, nonce, text, count, block, blocks);
  make_tag(tag_key, text, count, (uint8_t *)text + count);
}

WIDE int culvert_wide_open(const void *key, uint64_t nonce, void *text, size_t count) {
  uint32_t words[8];
  memcpy(words, key, sizeof words);
  __m512i block[2 * set_blocks];
  const int blocks = make_enough(words, nonce, 0, block_size + count, block);
  uint8_t tag_key[block_size], tag[16];
  _mm512_storeu_si512(tag_key, block[0]);
  make_tag(tag_key, text, count, tag);
  const uint8_t *theirs = (const uint8_t *)text + count;
  const uint64_t differs = (load64(tag) ^ load64(theirs)) | (load64(tag + 8) ^ load64(theirs + 8));
  if (differs != 0) return 0;
  mix_all(words, nonce, text, count, block, blocks);
  return 1;
}

#else

int culvert_wide_is_there(void) { return 0; }

void culvert_wide_seal(const void *key, uint64_t nonce, void *text, size_t count) {
  (void)key, (void)nonce, (void)text, (void)count;
}

int culvert_wide_open(const void *key, uint64_t nonce, void *text, size_t count) {
  (void)key, (void)nonce, (void)text, (void)count;
  return 0;
}

#endif
