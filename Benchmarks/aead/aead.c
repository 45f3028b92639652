// One round of the AEAD comparison: each library seals and opens packets of 1,420 bytes in place with a key that it
// keeps, 13 bytes of associated data and a nonce that changes with each packet, as QUIC does.
//
//     aead CALLS   ->   lines of "library cipher way nanoseconds-per-packet"
//
// Before anything is timed all libraries must make the same sealed bytes, and each must refuse a changed packet: a fast
// row that computes something else would be worse than none. `run` repeats the rounds and takes medians.
//
// Opening destroys the sealed packet, so each call gets it anew; the row `copy` says what that part of `open` costs.
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <nettle/chacha-poly1305.h>
#include <nettle/gcm.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>

enum { LENGTH = 1420, TAG = 16, SEALED = LENGTH + TAG, AAD = 13, NONCE = 12, CIPHERS = 3 };

static const char *const cipher_names[CIPHERS] = {"AES-128-GCM", "AES-256-GCM", "ChaCha20-Poly1305"};
static const size_t key_lengths[CIPHERS] = {16, 32, 32};
static uint8_t key[32], aad[AAD];

static void need(int condition, const char *what) {
  if (condition) return;
  fprintf(stderr, "aead: failed: %s\n", what);
  exit(1);
}

/// One library: it makes a key for a cipher, then seals and opens in place. `open` gives 0 for a packet it refuses.
struct library {
  const char *name;
  void *(*make)(int cipher);
  int (*seal)(void *context, uint8_t *text, const uint8_t *nonce);
  int (*open)(void *context, uint8_t *text, const uint8_t *nonce);
  void (*release)(void *context);
};

// GnuTLS, by the calls that ngtcp2's crypto helper makes, and by the calls with vectors.

static void *gnutls_make(int cipher) {
  static const gnutls_cipher_algorithm_t algorithms[CIPHERS] = {
      GNUTLS_CIPHER_AES_128_GCM, GNUTLS_CIPHER_AES_256_GCM, GNUTLS_CIPHER_CHACHA20_POLY1305};
  gnutls_datum_t datum = {key, (unsigned)key_lengths[cipher]};
  gnutls_aead_cipher_hd_t handle = NULL;
  need(gnutls_aead_cipher_init(&handle, algorithms[cipher], &datum) == 0, "gnutls_aead_cipher_init");
  return handle;
}

static int gnutls_seal(void *context, uint8_t *text, const uint8_t *nonce) {
  size_t length = SEALED;
  return gnutls_aead_cipher_encrypt(context, nonce, NONCE, aad, AAD, TAG, text, LENGTH, text, &length) == 0;
}

static int gnutls_open(void *context, uint8_t *text, const uint8_t *nonce) {
  size_t length = SEALED;
  return gnutls_aead_cipher_decrypt(context, nonce, NONCE, aad, AAD, TAG, text, SEALED, text, &length) == 0;
}

static int gnutls_seal_vectors(void *context, uint8_t *text, const uint8_t *nonce) {
  giovec_t auth = {aad, AAD}, body = {text, LENGTH};
  size_t tag = TAG;
  return gnutls_aead_cipher_encryptv2(context, nonce, NONCE, &auth, 1, &body, 1, text + LENGTH, &tag) == 0;
}

static int gnutls_open_vectors(void *context, uint8_t *text, const uint8_t *nonce) {
  giovec_t auth = {aad, AAD}, body = {text, LENGTH};
  return gnutls_aead_cipher_decryptv2(context, nonce, NONCE, &auth, 1, &body, 1, text + LENGTH, TAG) == 0;
}

static void gnutls_release(void *context) { gnutls_aead_cipher_deinit(context); }

// OpenSSL's libcrypto: one context for each way, with its key set once; only the nonce is set anew.

struct openssl_pair {
  EVP_CIPHER_CTX *sealing, *opening;
};

static void *openssl_make(int cipher) {
  static const char *const names[CIPHERS] = {"AES-128-GCM", "AES-256-GCM", "ChaCha20-Poly1305"};
  struct openssl_pair *pair = calloc(1, sizeof *pair);
  EVP_CIPHER *algorithm = EVP_CIPHER_fetch(NULL, names[cipher], NULL);
  need(pair != NULL && algorithm != NULL, "EVP_CIPHER_fetch");
  pair->sealing = EVP_CIPHER_CTX_new();
  pair->opening = EVP_CIPHER_CTX_new();
  need(EVP_EncryptInit_ex2(pair->sealing, algorithm, key, NULL, NULL) == 1 &&
           EVP_DecryptInit_ex2(pair->opening, algorithm, key, NULL, NULL) == 1,
       "EVP_CipherInit");
  EVP_CIPHER_free(algorithm);
  return pair;
}

static int openssl_seal(void *context, uint8_t *text, const uint8_t *nonce) {
  EVP_CIPHER_CTX *c = ((struct openssl_pair *)context)->sealing;
  int n;
  return EVP_EncryptInit_ex2(c, NULL, NULL, nonce, NULL) == 1 && EVP_EncryptUpdate(c, NULL, &n, aad, AAD) == 1 &&
         EVP_EncryptUpdate(c, text, &n, text, LENGTH) == 1 && EVP_EncryptFinal_ex(c, text + LENGTH, &n) == 1 &&
         EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, TAG, text + LENGTH) == 1;
}

static int openssl_open(void *context, uint8_t *text, const uint8_t *nonce) {
  EVP_CIPHER_CTX *c = ((struct openssl_pair *)context)->opening;
  int n;
  return EVP_DecryptInit_ex2(c, NULL, NULL, nonce, NULL) == 1 &&
         EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_TAG, TAG, text + LENGTH) == 1 &&
         EVP_DecryptUpdate(c, NULL, &n, aad, AAD) == 1 && EVP_DecryptUpdate(c, text, &n, text, LENGTH) == 1 &&
         EVP_DecryptFinal_ex(c, text + LENGTH, &n) == 1;
}

static void openssl_release(void *context) {
  struct openssl_pair *pair = context;
  EVP_CIPHER_CTX_free(pair->sealing);
  EVP_CIPHER_CTX_free(pair->opening);
  free(pair);
}

// Nettle, which GnuTLS uses for what its own assembly does not have.

struct nettle_key {
  int cipher;
  struct gcm_aes128_ctx gcm128;
  struct gcm_aes256_ctx gcm256;
  struct chacha_poly1305_ctx chacha;
};

static void *nettle_make(int cipher) {
  struct nettle_key *k = aligned_alloc(64, (sizeof *k + 63) / 64 * 64);
  need(k != NULL, "memory");
  k->cipher = cipher;
  if (cipher == 0) gcm_aes128_set_key(&k->gcm128, key);
  if (cipher == 1) gcm_aes256_set_key(&k->gcm256, key);
  if (cipher == 2) chacha_poly1305_set_key(&k->chacha, key);
  return k;
}

static void nettle_run(struct nettle_key *k, uint8_t *text, const uint8_t *nonce, uint8_t *tag, int sealing) {
  if (k->cipher == 0) {
    gcm_aes128_set_iv(&k->gcm128, NONCE, nonce);
    gcm_aes128_update(&k->gcm128, AAD, aad);
    (sealing ? gcm_aes128_encrypt : gcm_aes128_decrypt)(&k->gcm128, LENGTH, text, text);
    gcm_aes128_digest(&k->gcm128, TAG, tag);
  } else if (k->cipher == 1) {
    gcm_aes256_set_iv(&k->gcm256, NONCE, nonce);
    gcm_aes256_update(&k->gcm256, AAD, aad);
    (sealing ? gcm_aes256_encrypt : gcm_aes256_decrypt)(&k->gcm256, LENGTH, text, text);
    gcm_aes256_digest(&k->gcm256, TAG, tag);
  } else {
    chacha_poly1305_set_nonce(&k->chacha, nonce);
    chacha_poly1305_update(&k->chacha, AAD, aad);
    (sealing ? chacha_poly1305_encrypt : chacha_poly1305_decrypt)(&k->chacha, LENGTH, text, text);
    chacha_poly1305_digest(&k->chacha, TAG, tag);
  }
}

static int nettle_seal(void *context, uint8_t *text, const uint8_t *nonce) {
  nettle_run(context, text, nonce, text + LENGTH, 1);
  return 1;
}

static int nettle_open(void *context, uint8_t *text, const uint8_t *nonce) {
  uint8_t tag[TAG];
  nettle_run(context, text, nonce, tag, 0);
  uint8_t difference = 0;
  for (int i = 0; i < TAG; i++) difference |= tag[i] ^ text[LENGTH + i];
  return difference == 0;
}

static const struct library libraries[] = {
    {"GnuTLS", gnutls_make, gnutls_seal, gnutls_open, gnutls_release},
    {"GnuTLS-vectors", gnutls_make, gnutls_seal_vectors, gnutls_open_vectors, gnutls_release},
    {"libcrypto", openssl_make, openssl_seal, openssl_open, openssl_release},
    {"Nettle", nettle_make, nettle_seal, nettle_open, free},
};
enum { LIBRARIES = sizeof libraries / sizeof *libraries };

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e9 + t.tv_nsec;
}

static double time_seal(const struct library *library, void *context, uint8_t *text, long calls) {
  uint8_t nonce[NONCE] = {0};
  double start = now();
  for (uint32_t i = 0; i < calls; i++) {
    memcpy(nonce + 8, &i, 4);
    need(library->seal(context, text, nonce), library->name);
  }
  return (now() - start) / calls;
}

static double time_open(const struct library *library, void *context, uint8_t *text, const uint8_t *sealed,
                        long calls) {
  uint8_t nonce[NONCE] = {0};
  double start = now();
  for (long i = 0; i < calls; i++) {
    memcpy(text, sealed, SEALED);
    need(library->open(context, text, nonce), library->name);
  }
  return (now() - start) / calls;
}

static double time_copy(uint8_t *text, const uint8_t *sealed, long calls) {
  double start = now();
  for (long i = 0; i < calls; i++) {
    memcpy(text, sealed, SEALED);
    __asm__ volatile("" ::"r"(text) : "memory");
  }
  return (now() - start) / calls;
}

/// Seals the same packet with a library and compares it with the first library's; and a changed one must be refused.
static void check(const struct library *library, void *context, uint8_t *text, uint8_t *sealed, int first) {
  uint8_t nonce[NONCE] = {0};
  for (int i = 0; i < LENGTH; i++) text[i] = (uint8_t)i;
  need(library->seal(context, text, nonce), library->name);
  if (first) memcpy(sealed, text, SEALED);
  need(memcmp(sealed, text, SEALED) == 0, "the libraries do not agree on the sealed bytes");
  need(library->open(context, text, nonce), "opening");
  for (int i = 0; i < LENGTH; i++) need(text[i] == (uint8_t)i, "opened bytes");
  memcpy(text, sealed, SEALED);
  text[700] ^= 1;
  need(!library->open(context, text, nonce), "a changed packet was taken");
}

int main(int count, char **arguments) {
  long calls = count == 2 ? strtol(arguments[1], NULL, 10) : 0;
  if (calls < 20) {
    fputs("usage: aead CALLS (20 or more)\n", stderr);
    return 2;
  }
  static _Alignas(64) uint8_t text[2048], sealed[2048];
  for (int i = 0; i < 32; i++) key[i] = (uint8_t)i;
  memset(aad, 7, AAD);
  printf("copy - - %.1f\n", time_copy(text, sealed, calls));
  for (int cipher = 0; cipher < CIPHERS; cipher++) {
    for (int which = 0; which < LIBRARIES; which++) {
      const struct library *library = &libraries[which];
      void *context = library->make(cipher);
      check(library, context, text, sealed, which == 0);
      time_seal(library, context, text, calls / 20);
      printf("%s %s seal %.1f\n", library->name, cipher_names[cipher], time_seal(library, context, text, calls));
      printf("%s %s open %.1f\n", library->name, cipher_names[cipher],
             time_open(library, context, text, sealed, calls));
      library->release(context);
    }
  }
  return 0;
}
