/// Metadata keys that several parts share, and those of services, hops and nodes.

let counts = 0...Int(Int32.max)
let positive = 1...Int(Int32.max)

/// Keys of a multiplexed session: they matter only when a client binds, or for a multiplexing transport.
let muxKeys: [MetadataKey] = [
  MetadataKey("mux.version", .anything, .notYet),
  MetadataKey("mux.keepaliveInterval", .anything, .notYet),
  MetadataKey("mux.keepaliveDisabled", .anything, .notYet),
  MetadataKey("mux.keepaliveTimeout", .anything, .notYet),
  MetadataKey("mux.maxFrameSize", .anything, .notYet),
  MetadataKey("mux.maxReceiveBuffer", .anything, .notYet),
  MetadataKey("mux.maxStreamBuffer", .anything, .notYet),
  MetadataKey("mux.type", .anything, .notYet),
  MetadataKey("mux.maxStreamWindow", .anything, .notYet),
]

let sniffingKeys: [MetadataKey] = [
  MetadataKey("sniffing", .anything, .notYet),
  MetadataKey("sniffing.timeout", .anything, .notYet),
  MetadataKey("sniffing.websocket", .anything, .notYet),
  MetadataKey("sniffing.websocket.sampleRate", .anything, .notYet),
  MetadataKey("mitm.certFile|mitm.caCertFile", .anything, .notYet),
  MetadataKey("mitm.keyFile|mitm.caKeyFile", .anything, .notYet),
  MetadataKey("mitm.alpn", .anything, .notYet),
  MetadataKey("mitm.bypass", .anything, .notYet),
]

let observationKeys: [MetadataKey] = [
  MetadataKey("observePeriod|observer.period|observer.observePeriod", .anything, .notYet),
  MetadataKey("observer.resetTraffic", .anything, .notYet),
  MetadataKey("limiter.refreshInterval", .anything, .notYet),
  MetadataKey("limiter.cleanupInterval", .anything, .notYet),
]

let tcpKeepaliveKeys: [MetadataKey] = [
  MetadataKey("keepalive", .bool, .available, "TCP keepalive on accepted or dialled connections"),
  MetadataKey("keepalive.idle", .duration, .available, "idle time before the first TCP keepalive probe"),
  MetadataKey("keepalive.interval", .duration, .available, "time between TCP keepalive probes"),
  MetadataKey("keepalive.count", .int(positive), .available, "unanswered TCP keepalive probes before the end"),
]

/// `handshakeTimeout` is read by the TLS dialer only, `mptcp` by listeners only.
let mptcpKey = MetadataKey("mptcp", .bool, .notYet, "multipath TCP")

let quicKeys: [MetadataKey] = [
  MetadataKey("keepalive", .bool, .available, "QUIC keepalive packets"),
  MetadataKey("ttl", .duration, .available, "time between QUIC keepalive packets"),
  MetadataKey("handshakeTimeout", .duration, .available, "time for the QUIC handshake"),
  MetadataKey("maxIdleTimeout", .duration, .available, "silence after which a QUIC connection ends"),
]

let maxStreamsKey = MetadataKey("maxStreams", .int(counts), .available, "streams at once in a QUIC connection")
let backlogKey = MetadataKey("backlog", .int(positive), .available, "accepted connections that may wait")

extension PartCatalog {
  /// Keys of a service's own `metadata`.
  public static let serviceKeys: [MetadataKey] = [
    MetadataKey("interface", .string, .available, "interface or local address for outgoing sockets"),
    MetadataKey("so_mark", .int(0...Int(UInt32.max)), .available, "firewall mark on outgoing sockets"),
    MetadataKey("preUp", .strings, .available, "commands before the service starts"),
    MetadataKey("postUp", .strings, .available, "commands after the service has started"),
    MetadataKey("preDown", .strings, .available, "commands before the service stops"),
    MetadataKey("postDown", .strings, .available, "commands after the service has stopped"),
    MetadataKey("dialTimeout", .duration, .available, "time for dialling through the chain"),
    MetadataKey("proxyProtocol", .anything, .notYet),
    MetadataKey("ignoreChain", .anything, .notYet),
    MetadataKey("enableStats", .anything, .notYet),
    MetadataKey("netns", .anything, .notYet),
    MetadataKey("netns.out", .anything, .notYet),
    MetadataKey("limiter.refreshInterval", .anything, .notYet),
    MetadataKey("limiter.cleanupInterval", .anything, .notYet),
    MetadataKey("limiter.scope", .anything, .notYet),
    MetadataKey("observer.resetTraffic", .anything, .notYet),
    MetadataKey("observer.period|observePeriod|observer.observePeriod", .anything, .notYet),
    MetadataKey("labels", .anything, .notYet),
  ]

  /// Keys of a hop's `metadata`; its nodes inherit them.
  public static let hopKeys: [MetadataKey] = [
    MetadataKey("interface", .string, .available, "interface or local address for outgoing sockets"),
    MetadataKey("so_mark", .int(0...Int(UInt32.max)), .available, "firewall mark on outgoing sockets"),
    MetadataKey("proxyProtocol", .anything, .notYet),
    MetadataKey("netns", .anything, .notYet),
  ]

  /// Keys of a chain's `metadata`: they matter to a group of chains.
  public static let chainKeys: [MetadataKey] = [
    MetadataKey("weight", .anything, .notYet),
    MetadataKey("backup", .anything, .notYet),
    MetadataKey("maxFails", .anything, .notYet),
    MetadataKey("failTimeout", .anything, .notYet),
  ]

  /// Keys of a node's `metadata`.
  public static let nodeKeys: [MetadataKey] =
    hopKeys + chainKeys
}
