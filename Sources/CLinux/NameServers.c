// Look-ups that leave one family alone. In a file of its own, as the resolver's header renames members of other headers.
#define _GNU_SOURCE
#include <netinet/in.h>
#include <resolv.h>

#include "CLinux.h"

/// Leaves the name servers of one family to this thread's resolver; how many there are.
static int keep_name_servers(int family) {
  int kept = 0;
  for (int i = 0; i < _res.nscount && i < MAXNS; i++) {
    // An IPv6 server has no family in the old list, and stands in the new one.
    int is_ipv6 = _res.nsaddr_list[i].sin_family != AF_INET;
    if (is_ipv6 != (family == 6)) continue;
    struct sockaddr_in address = _res.nsaddr_list[i];
    struct sockaddr_in6 *extended = _res._u._ext.nsaddrs[i];
    _res._u._ext.nsaddrs[i] = _res._u._ext.nsaddrs[kept];
    _res._u._ext.nsaddrs[kept] = extended;
    _res.nsaddr_list[i] = _res.nsaddr_list[kept];
    _res.nsaddr_list[kept] = address;
    kept++;
  }
  _res.nscount = kept;
  // What the library made of the list is made anew.
  _res._u._ext.nscount = 0;
  return kept;
}

int culvert_resolve_only(const char *host, int family, struct culvert_endpoint *out, int capacity) {
  // The resolver's state is this thread's own, and a list that was changed by hand is left alone.
  if (res_init() != 0) return culvert_resolve(host, family, out, capacity);
  int all = _res.nscount;
  int kept = keep_name_servers(family);
  int result = culvert_resolve(host, family, out, capacity);
  // The next look-up of this thread may be another's.
  if (kept != all) (void)res_init();
  return result <= 0 && kept == 0 && all > 0 ? CULVERT_NO_NAME_SERVER : result;
}
