/// Metadata keys of TURN: of the server, which is a handler, and of its clients, a dialer and a listener. GOST has none of
/// them; the names of the server's follow GOST's where there are some, and coturn's options otherwise.

let turnServerKeys: [MetadataKey] =
  [
    MetadataKey("realm", .string, .available, "the realm that clients are told; `culvert` when absent"),
    MetadataKey(
      "secret|secrets", .secrets, .available,
      "a secret shared with a web application that makes time-limited credentials; several while one is replaced"),
    MetadataKey("secretFile", .string, .available, "a file with such secrets, one a line"),
    MetadataKey("stunOnly", .bool, .available, "answer Binding requests alone, and relay nothing"),
    MetadataKey(
      "external", .externals, .available,
      "addresses as others see them, behind a slash the host's own: `203.0.113.5/10.0.0.5`"),
    MetadataKey("addresses", .addressList, .available, "the host's addresses at which allocations are made"),
    MetadataKey("ports", .ports, .available, "the ports of allocations, `49152-65535` when absent"),
    MetadataKey("lifetime", .duration, .available, "how long an allocation lives that asks for nothing, 600s"),
    MetadataKey("maxLifetime", .duration, .available, "how long one lives at most without a refresh, 3600s"),
    MetadataKey("mobility", .bool, .available, "a client may go on from another address (RFC 8016)"),
    MetadataKey("tcpRelay", .bool, .available, "relay TCP connections as well (RFC 6062), on `tcp` and `tls`"),
    MetadataKey("software", .string, .available, "what answers name as software; nothing when absent"),
    MetadataKey(
      "egress.allow", .targets, .available, "peers that are reached although they are refused by default; `all`"),
    MetadataKey("egress.deny", .targets, .available, "peers that are refused; the more exact of two rules decides"),
    MetadataKey("userQuota", .int(counts), .available, "allocations of one user at once; 0 for any number"),
    MetadataKey("sourceQuota", .int(counts), .available, "allocations of one source address at once; 0 for any number"),
    MetadataKey("totalQuota", .int(counts), .available, "allocations at once; 0 for as many as there are ports"),
    MetadataKey("userBandwidth", .rate, .available, "bytes a second that a user may relay, in each direction"),
    MetadataKey("totalBandwidth", .rate, .available, "bytes a second that all may relay, in each direction"),
    MetadataKey("drain", .duration, .available, "how long allocations are kept after SIGTERM, 10s"),
    MetadataKey(
      "alternate", .endpoints, .available, "a second address and port, for clients that ask about their NAT (RFC 5780)"),
    MetadataKey("family", familyPolicy, .available, "families of allocations; `prefer-ipv6` where none is asked for"),
    MetadataKey(
      "xdp", .choice(["off", "auto", "driver", "generic"], later: []), .available,
      "forward channel data in the kernel: `auto` where it can, `driver` or `generic` in that way alone"),
  ]

/// Of the dialer and the listener alike.
let turnClientKeys: [MetadataKey] = [
  MetadataKey(
    "transport", .choice(["udp", "tcp", "tls"], later: []), .available, "how the server is reached, `udp`"),
  MetadataKey("secret", .secret, .available, "the server's shared secret, of which time-limited credentials are made"),
  MetadataKey("family", familyPolicy, .available, "the family of the leg to the server, `any`"),
  MetadataKey(
    "allocation", .choice(["any", "ipv4", "ipv6", "both", "prefer-ipv4", "prefer-ipv6"], later: []), .available,
    "the family of the relayed address; `any`: that of the peers"),
  MetadataKey("mobility", .bool, .available, "keep the allocation when this host's address changes (RFC 8016)"),
  MetadataKey("lifetime", .duration, .available, "the lifetime that is asked for, 600s"),
]

let turnListenerKeys: [MetadataKey] =
  [
    MetadataKey("server", .string, .available, "the TURN server, such as `turn.example.org:3478`"),
    MetadataKey("permit", .addressList, .available, "addresses of the peers that may send"),
    MetadataKey("ttl", .duration, .available, "silence after which a peer's session ends"),
  ] + turnClientKeys

private let familyPolicy = MetadataType.choice(["any", "ipv4", "ipv6", "prefer-ipv4", "prefer-ipv6"], later: [])
