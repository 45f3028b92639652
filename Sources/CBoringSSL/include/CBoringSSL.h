// What Culvert calls of BoringSSL, which swift-crypto carries: a header of plain types.
//
// BoringSSL's own headers are read by CBoringSSL.c alone. They define the same macros as OpenSSL's with other values, so
// that a module that could see both would compile and be wrong.
//
// Nothing here allocates. Every call takes memory of the caller's; a cipher's state is `culvert_cipher_size` bytes,
// aligned to 16. Texts are sealed and opened in place; a text that is refused is overwritten with zeros, or left as it
// was.
#pragma once
#include <stddef.h>
#include <stdint.h>

#define CULVERT_TAG 16
#define CULVERT_KEY 32

/// The size of a cipher's state, in bytes.
size_t culvert_cipher_size(void);
/// Makes a ChaCha20-Poly1305 state of a key; 1 when it worked.
int culvert_cipher_init(void *_Nonnull state, const void *_Nonnull key);
/// Ends a state and wipes its memory.
void culvert_cipher_end(void *_Nonnull state);
/// Seals `count` bytes in place and writes the tag behind them; the nonce is 4 zeros and the counter, little-endian.
int culvert_cipher_seal(const void *_Nonnull state, uint64_t counter, void *_Nonnull text, size_t count);
/// Opens `count` bytes of text in place, behind which the tag stands; 0 when they are not what was sealed.
int culvert_cipher_open(const void *_Nonnull state, uint64_t counter, void *_Nonnull text, size_t count);

/// The same in one call, with a nonce of 12 bytes.
int culvert_chacha_seal(
    const void *_Nonnull key, const void *_Nonnull nonce, void *_Nonnull text, size_t count,
    const void *_Nullable associated, size_t associated_count);
int culvert_chacha_open(
    const void *_Nonnull key, const void *_Nonnull nonce, void *_Nonnull text, size_t count,
    const void *_Nullable associated, size_t associated_count);
/// XChaCha20-Poly1305 in one call, with a nonce of 24 bytes.
int culvert_xchacha_seal(
    const void *_Nonnull key, const void *_Nonnull nonce, void *_Nonnull text, size_t count,
    const void *_Nullable associated, size_t associated_count);
int culvert_xchacha_open(
    const void *_Nonnull key, const void *_Nonnull nonce, void *_Nonnull text, size_t count,
    const void *_Nullable associated, size_t associated_count);

/// X25519 (RFC 7748): 0 when the result is all zeros.
int culvert_x25519(void *_Nonnull shared, const void *_Nonnull secret, const void *_Nonnull public_key);
void culvert_x25519_public(void *_Nonnull public_key, const void *_Nonnull secret);

/// Whether two pieces of memory are equal, in a time that does not say where they differ.
int culvert_equal(const void *_Nonnull left, const void *_Nonnull right, size_t count);
/// Overwrites memory with zeros, however little the compiler thinks of it.
void culvert_wipe(void *_Nonnull memory, size_t count);
/// SHA-1: 20 bytes.
void culvert_sha1(void *_Nonnull digest, const void *_Nullable bytes, size_t count);
/// SHA-256: 32 bytes.
void culvert_sha256(void *_Nonnull digest, const void *_Nullable bytes, size_t count);
/// MD5: 16 bytes.
void culvert_md5(void *_Nonnull digest, const void *_Nullable bytes, size_t count);
/// HMAC of a text in two pieces: with SHA-1 where the tag has 20 bytes, with SHA-256 where it has 32.
void culvert_hmac(
    void *_Nonnull tag, size_t tag_count, const void *_Nullable key, size_t key_count, const void *_Nullable first,
    size_t first_count, const void *_Nullable second, size_t second_count);

#define CULVERT_MLKEM_SEED 64
#define CULVERT_MLKEM_PUBLIC 1184
#define CULVERT_MLKEM_TEXT 1088

/// ML-KEM-768 (FIPS 203). The public key of a private one, which is its seed (d and z).
void culvert_mlkem_public(void *_Nonnull public_key, const void *_Nonnull seed);
/// Draws a shared secret of 32 bytes of entropy and seals it for a public key; 0 when that is none.
int culvert_mlkem_encapsulate(
    void *_Nonnull text, void *_Nonnull secret, const void *_Nonnull public_key, const void *_Nonnull entropy);
/// Opens the shared secret. It is another, not none, for a text that was not made for this key.
void culvert_mlkem_decapsulate(void *_Nonnull secret, const void *_Nonnull text, const void *_Nonnull seed);
