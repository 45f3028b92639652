// ngtcp2 0.12 as Swift sees it. Its versioned entry points are macros, its paths are structs that point into
// themselves, and its addresses are the C library's: each stands here as an inline function over plain numbers.
#pragma once
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <netinet/in.h>
#include <ngtcp2/ngtcp2.h>
#include <ngtcp2/ngtcp2_crypto.h>
#include <ngtcp2/ngtcp2_crypto_gnutls.h>
#include <string.h>

// An address in network order, `family` 4 or 6, the port in host order.
typedef struct culvert_endpoint {
  uint8_t address[16];
  uint32_t scope;
  uint16_t port;
  uint8_t family;
} culvert_endpoint;

static inline ngtcp2_socklen culvert_sockaddr_set(ngtcp2_sockaddr_union *to, const culvert_endpoint *from) {
  memset(to, 0, sizeof(*to));
  if (from->family == 4) {
    to->in.sin_family = AF_INET;
    to->in.sin_port = htons(from->port);
    memcpy(&to->in.sin_addr, from->address, 4);
    return sizeof(to->in);
  }
  to->in6.sin6_family = AF_INET6;
  to->in6.sin6_port = htons(from->port);
  to->in6.sin6_scope_id = from->scope;
  memcpy(&to->in6.sin6_addr, from->address, 16);
  return sizeof(to->in6);
}

static inline void culvert_sockaddr_get(const ngtcp2_addr *from, culvert_endpoint *to) {
  memset(to, 0, sizeof(*to));
  if (!from->addr || from->addrlen == 0) return;
  if (from->addr->sa_family == AF_INET && from->addrlen >= sizeof(struct sockaddr_in)) {
    const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)from->addr;
    to->family = 4;
    to->port = ntohs(in->sin_port);
    memcpy(to->address, &in->sin_addr, 4);
  } else if (from->addr->sa_family == AF_INET6 && from->addrlen >= sizeof(struct sockaddr_in6)) {
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)from->addr;
    to->family = 6;
    to->port = ntohs(in6->sin6_port);
    to->scope = in6->sin6_scope_id;
    memcpy(to->address, &in6->sin6_addr, 16);
  }
}

// The storage points into itself: it must not move afterwards.
static inline void culvert_path_set(ngtcp2_path_storage *path, const culvert_endpoint *local,
                                    const culvert_endpoint *remote) {
  path->path.user_data = NULL;
  path->path.local.addr = &path->local_addrbuf.sa;
  path->path.local.addrlen = culvert_sockaddr_set(&path->local_addrbuf, local);
  path->path.remote.addr = &path->remote_addrbuf.sa;
  path->path.remote.addrlen = culvert_sockaddr_set(&path->remote_addrbuf, remote);
}

static inline void culvert_settings_default(ngtcp2_settings *settings) { ngtcp2_settings_default(settings); }
static inline void culvert_params_default(ngtcp2_transport_params *params) { ngtcp2_transport_params_default(params); }

static inline int culvert_client_new(ngtcp2_conn **conn, const ngtcp2_cid *dcid, const ngtcp2_cid *scid,
                                     const ngtcp2_path *path, uint32_t version, const ngtcp2_callbacks *callbacks,
                                     const ngtcp2_settings *settings, const ngtcp2_transport_params *params,
                                     void *user_data) {
  return ngtcp2_conn_client_new(conn, dcid, scid, path, version, callbacks, settings, params, NULL, user_data);
}

static inline int culvert_server_new(ngtcp2_conn **conn, const ngtcp2_cid *dcid, const ngtcp2_cid *scid,
                                     const ngtcp2_path *path, uint32_t version, const ngtcp2_callbacks *callbacks,
                                     const ngtcp2_settings *settings, const ngtcp2_transport_params *params,
                                     void *user_data) {
  return ngtcp2_conn_server_new(conn, dcid, scid, path, version, callbacks, settings, params, NULL, user_data);
}

static inline int culvert_read_packet(ngtcp2_conn *conn, const ngtcp2_path *path, uint32_t ecn, const uint8_t *packet,
                                      size_t length, ngtcp2_tstamp ts) {
  ngtcp2_pkt_info info;
  memset(&info, 0, sizeof(info));
  info.ecn = ecn;
  return ngtcp2_conn_read_pkt(conn, path, &info, packet, length, ts);
}

static inline ngtcp2_ssize culvert_write_stream(ngtcp2_conn *conn, ngtcp2_path *path, ngtcp2_pkt_info *info,
                                                uint8_t *dest, size_t room, ngtcp2_ssize *taken, uint32_t flags,
                                                int64_t stream, const ngtcp2_vec *vectors, size_t count,
                                                ngtcp2_tstamp ts) {
  return ngtcp2_conn_writev_stream(conn, path, info, dest, room, taken, flags, stream, vectors, count, ts);
}

static inline void culvert_conn_stat(ngtcp2_conn *conn, ngtcp2_conn_stat *stat) {
  ngtcp2_conn_get_conn_stat(conn, stat);
}

static inline ngtcp2_ssize culvert_write_datagram(ngtcp2_conn *conn, ngtcp2_path *path, ngtcp2_pkt_info *info,
                                                  uint8_t *dest, size_t room, int *accepted, uint32_t flags,
                                                  const ngtcp2_vec *vectors, size_t count, ngtcp2_tstamp ts) {
  return ngtcp2_conn_writev_datagram(conn, path, info, dest, room, accepted, flags, 0, vectors, count, ts);
}

static inline ngtcp2_ssize culvert_write_close(ngtcp2_conn *conn, ngtcp2_path *path, ngtcp2_pkt_info *info,
                                               uint8_t *dest, size_t room, const ngtcp2_connection_close_error *error,
                                               ngtcp2_tstamp ts) {
  return ngtcp2_conn_write_connection_close(conn, path, info, dest, room, error, ts);
}

static inline void culvert_connection_stat(ngtcp2_conn *conn, ngtcp2_conn_stat *stat) {
  ngtcp2_conn_get_conn_stat(conn, stat);
}

// GnuTLS gives back one pointer for each session; ngtcp2's glue wants its reference there, and we our owner.
typedef struct culvert_reference {
  ngtcp2_crypto_conn_ref reference;
  ngtcp2_conn *conn;
  void *owner;
} culvert_reference;

static inline ngtcp2_conn *culvert_referenced(ngtcp2_crypto_conn_ref *reference) {
  return ((culvert_reference *)reference)->conn;
}

static inline void culvert_reference_set(culvert_reference *reference, ngtcp2_conn *conn, void *owner) {
  reference->reference.get_conn = culvert_referenced;
  reference->reference.user_data = NULL;
  reference->conn = conn;
  reference->owner = owner;
}
