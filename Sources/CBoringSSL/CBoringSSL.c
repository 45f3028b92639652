#include "CBoringSSL.h"

#include <CCryptoBoringSSL_aead.h>
#include <CCryptoBoringSSL_bytestring.h>
#include <CCryptoBoringSSL_curve25519.h>
#include <CCryptoBoringSSL_digest.h>
#include <CCryptoBoringSSL_hmac.h>
#include <CCryptoBoringSSL_md5.h>
#include <CCryptoBoringSSL_mem.h>
#include <CCryptoBoringSSL_mlkem.h>
#include <CCryptoBoringSSL_sha.h>
#include <string.h>

#include "WideChaChaPoly.h"

// A key for packets: BoringSSL's state, or the key itself where wider instructions are there than BoringSSL's.
struct cipher {
  EVP_AEAD_CTX boring;
  uint8_t key[CULVERT_KEY];
  int is_wide;
};

size_t culvert_cipher_size(void) { return sizeof(struct cipher); }

int culvert_cipher_init(void *state, const void *key) {
  struct cipher *cipher = state;
  EVP_AEAD_CTX_zero(&cipher->boring);
  memcpy(cipher->key, key, CULVERT_KEY);
  cipher->is_wide = culvert_wide_is_there();
  return EVP_AEAD_CTX_init(&cipher->boring, EVP_aead_chacha20_poly1305(), key, CULVERT_KEY, CULVERT_TAG, NULL);
}

void culvert_cipher_end(void *state) {
  struct cipher *cipher = state;
  EVP_AEAD_CTX_cleanup(&cipher->boring);
  OPENSSL_cleanse(cipher, sizeof *cipher);
}

static void make_nonce(uint8_t nonce[12], uint64_t counter) {
  memset(nonce, 0, 4);
  for (int i = 0; i < 8; i++) nonce[4 + i] = (uint8_t)(counter >> (8 * i));
}

int culvert_cipher_seal(const void *state, uint64_t counter, void *text, size_t count) {
  const struct cipher *cipher = state;
  if (cipher->is_wide) {
    culvert_wide_seal(cipher->key, counter, text, count);
    return 1;
  }
  uint8_t nonce[12];
  make_nonce(nonce, counter);
  size_t written = 0;
  return EVP_AEAD_CTX_seal(&cipher->boring, text, &written, count + CULVERT_TAG, nonce, sizeof nonce, text, count,
                           NULL, 0) == 1 &&
         written == count + CULVERT_TAG;
}

int culvert_cipher_open(const void *state, uint64_t counter, void *text, size_t count) {
  const struct cipher *cipher = state;
  if (cipher->is_wide) return culvert_wide_open(cipher->key, counter, text, count);
  uint8_t nonce[12];
  make_nonce(nonce, counter);
  size_t written = 0;
  return EVP_AEAD_CTX_open(&cipher->boring, text, &written, count, nonce, sizeof nonce, text, count + CULVERT_TAG,
                           NULL, 0) == 1 &&
         written == count;
}

static int once(const EVP_AEAD *aead, int sealing, const void *key, const void *nonce, void *text, size_t count,
                const void *associated, size_t associated_count) {
  EVP_AEAD_CTX state;
  EVP_AEAD_CTX_zero(&state);
  size_t written = 0, nonce_count = EVP_AEAD_nonce_length(aead);
  int done = EVP_AEAD_CTX_init(&state, aead, key, CULVERT_KEY, CULVERT_TAG, NULL);
  if (done && sealing)
    done = EVP_AEAD_CTX_seal(&state, text, &written, count + CULVERT_TAG, nonce, nonce_count, text, count, associated,
                             associated_count) == 1 &&
           written == count + CULVERT_TAG;
  else if (done)
    done = EVP_AEAD_CTX_open(&state, text, &written, count, nonce, nonce_count, text, count + CULVERT_TAG, associated,
                             associated_count) == 1 &&
           written == count;
  EVP_AEAD_CTX_cleanup(&state);
  OPENSSL_cleanse(&state, sizeof state);
  return done;
}

int culvert_chacha_seal(const void *key, const void *nonce, void *text, size_t count, const void *associated,
                        size_t associated_count) {
  return once(EVP_aead_chacha20_poly1305(), 1, key, nonce, text, count, associated, associated_count);
}

int culvert_chacha_open(const void *key, const void *nonce, void *text, size_t count, const void *associated,
                        size_t associated_count) {
  return once(EVP_aead_chacha20_poly1305(), 0, key, nonce, text, count, associated, associated_count);
}

int culvert_xchacha_seal(const void *key, const void *nonce, void *text, size_t count, const void *associated,
                         size_t associated_count) {
  return once(EVP_aead_xchacha20_poly1305(), 1, key, nonce, text, count, associated, associated_count);
}

int culvert_xchacha_open(const void *key, const void *nonce, void *text, size_t count, const void *associated,
                         size_t associated_count) {
  return once(EVP_aead_xchacha20_poly1305(), 0, key, nonce, text, count, associated, associated_count);
}

int culvert_x25519(void *shared, const void *secret, const void *public_key) {
  return X25519(shared, secret, public_key);
}

void culvert_x25519_public(void *public_key, const void *secret) { X25519_public_from_private(public_key, secret); }

int culvert_equal(const void *left, const void *right, size_t count) {
  return CRYPTO_memcmp(left, right, count) == 0;
}

void culvert_wipe(void *memory, size_t count) { OPENSSL_cleanse(memory, count); }

void culvert_sha1(void *digest, const void *bytes, size_t count) { SHA1(bytes, count, digest); }

void culvert_sha256(void *digest, const void *bytes, size_t count) { SHA256(bytes, count, digest); }

void culvert_md5(void *digest, const void *bytes, size_t count) { MD5(bytes, count, digest); }

// HMAC_Init_ex takes a null key for "the same as before"; an empty one has to be some memory.
void culvert_hmac(
    void *tag, size_t tag_count, const void *key, size_t key_count, const void *first, size_t first_count,
    const void *second, size_t second_count) {
  HMAC_CTX state;
  unsigned int written = 0;
  HMAC_CTX_init(&state);
  HMAC_Init_ex(&state, key != NULL ? key : "", key_count, tag_count == 32 ? EVP_sha256() : EVP_sha1(), NULL);
  HMAC_Update(&state, first, first_count);
  HMAC_Update(&state, second, second_count);
  HMAC_Final(&state, tag, &written);
  HMAC_CTX_cleanup(&state);
}

// Behind `MLKEM768_encap`, which draws its entropy itself: here it is the caller's, as all chance is. No header that may
// be included has it; its keys are laid out as the public ones (bcm_interface.h). What it returns is always the same.
extern int BCM_mlkem768_encap_external_entropy(
    uint8_t *text, uint8_t *secret, const struct MLKEM768_public_key *public_key, const uint8_t *entropy);

_Static_assert(CULVERT_MLKEM_SEED == MLKEM_SEED_BYTES, "seed");
_Static_assert(CULVERT_MLKEM_PUBLIC == MLKEM768_PUBLIC_KEY_BYTES, "public key");
_Static_assert(CULVERT_MLKEM_TEXT == MLKEM768_CIPHERTEXT_BYTES, "ciphertext");

void culvert_mlkem_public(void *public_key, const void *seed) {
  struct MLKEM768_private_key private_key;
  struct MLKEM768_public_key key;
  CBB out;
  size_t count = 0;
  // These fail for sizes that are none, and here they are constants.
  MLKEM768_private_key_from_seed(&private_key, seed, MLKEM_SEED_BYTES);
  MLKEM768_public_from_private(&key, &private_key);
  OPENSSL_cleanse(&private_key, sizeof private_key);
  memset(public_key, 0, MLKEM768_PUBLIC_KEY_BYTES);
  CBB_init_fixed(&out, public_key, MLKEM768_PUBLIC_KEY_BYTES);
  if (!MLKEM768_marshal_public_key(&out, &key) || !CBB_finish(&out, NULL, &count)) CBB_cleanup(&out);
}

int culvert_mlkem_encapsulate(void *text, void *secret, const void *public_key, const void *entropy) {
  struct MLKEM768_public_key key;
  CBS in;
  CBS_init(&in, public_key, MLKEM768_PUBLIC_KEY_BYTES);
  if (!MLKEM768_parse_public_key(&key, &in)) return 0;
  BCM_mlkem768_encap_external_entropy(text, secret, &key, entropy);
  return 1;
}

void culvert_mlkem_decapsulate(void *secret, const void *text, const void *seed) {
  struct MLKEM768_private_key private_key;
  MLKEM768_private_key_from_seed(&private_key, seed, MLKEM_SEED_BYTES);
  MLKEM768_decap(secret, text, MLKEM768_CIPHERTEXT_BYTES, &private_key);
  OPENSSL_cleanse(&private_key, sizeof private_key);
}
