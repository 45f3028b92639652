// What is used of the BoringSSL that swift-crypto carries inside. It is no public API of swift-crypto: the names have a
// prefix of its own and may change with any release, so the package is pinned to one exact version.
#pragma once
#include <stddef.h>
#include <stdint.h>

struct boring_key;

/// `name` is AES-128-GCM, AES-256-GCM or ChaCha20-Poly1305; NULL when the key cannot be made.
struct boring_key *_Nullable boring_key_new(const char *_Nonnull name, const uint8_t *_Nonnull key);

/// Seals `length` bytes in place; the tag of 16 bytes goes behind them. 1 when it worked.
int boring_seal(const struct boring_key *_Nonnull key, uint8_t *_Nonnull text, size_t length,
                const uint8_t *_Nonnull nonce, const uint8_t *_Nonnull aad, size_t aad_length);

/// Opens `length` bytes, the tag among them, in place. 1 when it worked.
int boring_open(const struct boring_key *_Nonnull key, uint8_t *_Nonnull text, size_t length,
                const uint8_t *_Nonnull nonce, const uint8_t *_Nonnull aad, size_t aad_length);
