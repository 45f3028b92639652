#include "boring.h"

#include <string.h>

// Declared here and not imported: importing BoringSSL's headers beside another library's mixes their macros up.
struct boring_key;
typedef struct aead aead;
const aead *CCryptoBoringSSL_EVP_aead_aes_128_gcm(void);
const aead *CCryptoBoringSSL_EVP_aead_aes_256_gcm(void);
const aead *CCryptoBoringSSL_EVP_aead_chacha20_poly1305(void);
struct boring_key *CCryptoBoringSSL_EVP_AEAD_CTX_new(const aead *aead, const uint8_t *key, size_t key_length,
                                                     size_t tag_length);
int CCryptoBoringSSL_EVP_AEAD_CTX_seal(const struct boring_key *ctx, uint8_t *out, size_t *out_length,
                                       size_t max_length, const uint8_t *nonce, size_t nonce_length, const uint8_t *in,
                                       size_t in_length, const uint8_t *aad, size_t aad_length);
int CCryptoBoringSSL_EVP_AEAD_CTX_open(const struct boring_key *ctx, uint8_t *out, size_t *out_length,
                                       size_t max_length, const uint8_t *nonce, size_t nonce_length, const uint8_t *in,
                                       size_t in_length, const uint8_t *aad, size_t aad_length);

struct boring_key *boring_key_new(const char *name, const uint8_t *key) {
  if (!strcmp(name, "AES-128-GCM"))
    return CCryptoBoringSSL_EVP_AEAD_CTX_new(CCryptoBoringSSL_EVP_aead_aes_128_gcm(), key, 16, 16);
  if (!strcmp(name, "AES-256-GCM"))
    return CCryptoBoringSSL_EVP_AEAD_CTX_new(CCryptoBoringSSL_EVP_aead_aes_256_gcm(), key, 32, 16);
  if (!strcmp(name, "ChaCha20-Poly1305"))
    return CCryptoBoringSSL_EVP_AEAD_CTX_new(CCryptoBoringSSL_EVP_aead_chacha20_poly1305(), key, 32, 16);
  return NULL;
}

int boring_seal(const struct boring_key *key, uint8_t *text, size_t length, const uint8_t *nonce, const uint8_t *aad,
                size_t aad_length) {
  size_t written = 0;
  return CCryptoBoringSSL_EVP_AEAD_CTX_seal(key, text, &written, length + 16, nonce, 12, text, length, aad,
                                            aad_length) == 1 &&
         written == length + 16;
}

int boring_open(const struct boring_key *key, uint8_t *text, size_t length, const uint8_t *nonce, const uint8_t *aad,
                size_t aad_length) {
  size_t written = 0;
  return CCryptoBoringSSL_EVP_AEAD_CTX_open(key, text, &written, length, nonce, 12, text, length, aad, aad_length) ==
             1 &&
         written + 16 == length;
}
