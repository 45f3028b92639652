/// Metadata keys that several parts share, and those of services, hops and nodes.

let counts = 0...Int(Int32.max)
let positive = 1...Int(Int32.max)

/// Keys of a multiplexed session, which a relay has for BIND alone.
let muxKeys: [MetadataKey] = [
  "mux.version", "mux.keepaliveInterval", "mux.keepaliveDisabled", "mux.keepaliveTimeout", "mux.maxFrameSize",
  "mux.maxReceiveBuffer", "mux.maxStreamBuffer", "mux.type", "mux.maxStreamWindow",
].map { MetadataKey($0, .anything, .withoutEffect("it shapes BIND sessions only, and BIND is not served yet")) }

let sniffingKeys: [MetadataKey] =
  [MetadataKey("sniffing", .anything, .notYet)]
  + [
    "sniffing.timeout", "sniffing.websocket", "sniffing.websocket.sampleRate", "mitm.certFile|mitm.caCertFile",
    "mitm.keyFile|mitm.caKeyFile", "mitm.alpn", "mitm.bypass",
  ].map { MetadataKey($0, .anything, .withoutEffect("it changes how `sniffing` works, which is not yet supported")) }

let observationKeys: [MetadataKey] =
  ["observePeriod|observer.period|observer.observePeriod", "observer.resetTraffic"].map {
    MetadataKey($0, .anything, .withoutEffect("it is for an `observer`, which is not yet supported"))
  }
  + ["limiter.refreshInterval", "limiter.cleanupInterval"].map {
    MetadataKey($0, .anything, .withoutEffect("it is for a `limiter`, which is not yet supported"))
  }

/// What GOST v2 had for TUN and v3 does not read.
let oldTunKeys: [MetadataKey] = [
  MetadataKey(
    "bufferSize|tun.bufferSize", .anything,
    .withoutEffect("GOST v3 does not read it; a TUN packet is never larger than the MTU")),
  MetadataKey(
    "tcp|tun.tcp", .anything,
    .withoutEffect("it is of GOST v2; in v3 a tunnel over TCP is a chain with the connector `relay`")),
]

let tcpKeepaliveKeys: [MetadataKey] = [
  MetadataKey("keepalive", .bool, .available, "TCP keepalive on accepted or dialled connections"),
  MetadataKey("keepalive.idle", .duration, .available, "idle time before the first TCP keepalive probe"),
  MetadataKey("keepalive.interval", .duration, .available, "time between TCP keepalive probes"),
  MetadataKey("keepalive.count", .int(positive), .available, "unanswered TCP keepalive probes before the end"),
]

let mptcpKey = MetadataKey("mptcp", .bool, .notYet, "multipath TCP")

let quicKeys: [MetadataKey] = [
  MetadataKey("keepalive", .bool, .available, "QUIC keepalive packets"),
  MetadataKey("ttl", .duration, .available, "time between QUIC keepalive packets"),
  MetadataKey("handshakeTimeout", .duration, .available, "time for the QUIC handshake"),
  MetadataKey("maxIdleTimeout", .duration, .available, "silence after which a QUIC connection ends"),
]

let maxStreamsKey = MetadataKey("maxStreams", .int(counts), .available, "streams at once in a QUIC connection")
let backlogKey = MetadataKey(
  "backlog", .anything, .withoutEffect("a connection is handed on at once, so there is no queue to size"))

extension PartCatalog {
  /// Keys of a service's own `metadata`.
  public static let serviceKeys: [MetadataKey] =
    [
      MetadataKey("interface", .string, .available, "interface or local address for outgoing sockets"),
      MetadataKey("so_mark", .int(0...Int(UInt32.max)), .available, "firewall mark on outgoing sockets"),
      MetadataKey("preUp", .strings, .available, "commands before the service starts"),
      MetadataKey("postUp", .strings, .available, "commands after the service has started"),
      MetadataKey("preDown", .strings, .available, "commands before the service stops"),
      MetadataKey("postDown", .strings, .available, "commands after the service has stopped"),
      MetadataKey("dialTimeout", .duration, .available, "time for dialling through the chain"),
      MetadataKey("proxyProtocol", .anything, .notYet),
      MetadataKey("ignoreChain", .anything, .notYet),
      MetadataKey("netns", .anything, .notYet),
      MetadataKey("netns.out", .anything, .notYet),
      MetadataKey(
        "limiter.scope", .anything, .withoutEffect("it is for a `limiter`, which is not yet supported")),
      MetadataKey(
        "enableStats", .anything, .withoutEffect("GOST's web API shows these counts, and it is not yet supported")),
      MetadataKey("labels", .anything, .withoutEffect("GOST writes them into its log records, Culvert does not yet")),
    ] + observationKeys

  /// Keys of a hop's `metadata`; its nodes inherit them.
  public static let hopKeys: [MetadataKey] = [
    MetadataKey("interface", .string, .available, "interface or local address for outgoing sockets"),
    MetadataKey("so_mark", .int(0...Int(UInt32.max)), .available, "firewall mark on outgoing sockets"),
    MetadataKey("proxyProtocol", .anything, .notYet),
    MetadataKey("netns", .anything, .notYet),
  ]

  /// Keys of a chain's `metadata`: they matter to a group of chains.
  public static let chainKeys: [MetadataKey] = choiceKeys("one of several chains")

  /// Keys of a node's `metadata`.
  public static let nodeKeys: [MetadataKey] =
    hopKeys + choiceKeys("one of several nodes")

  private static func choiceKeys(_ what: String) -> [MetadataKey] {
    ["weight", "backup", "maxFails", "failTimeout"].map {
      MetadataKey($0, .anything, .withoutEffect("it is for choosing \(what), which is not yet supported"))
    }
  }
}
