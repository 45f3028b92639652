// GnuTLS as Swift sees it. Function-like macros and the few calls whose C types do not import well stand here as
// inline functions; nothing else does.
#pragma once
#include <errno.h>
#include <gnutls/crypto.h>
#include <gnutls/dtls.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

// The transport's error is thread-local state of the C library: GnuTLS wants it told for each session instead.
static inline ssize_t culvert_gnutls_would_block(gnutls_session_t session) {
  gnutls_transport_set_errno(session, EAGAIN);
  return -1;
}

// A variable under a macro of the same name in GnuTLS's header.
static inline void culvert_gnutls_free(void *pointer) { gnutls_free(pointer); }
