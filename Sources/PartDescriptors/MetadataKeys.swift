/// Metadata keys that several parts share, and those of services, hops and nodes.

let counts = 0...Int(Int32.max)
let positive = 1...Int(Int32.max)

/// Keys of a session that many streams share. The defaults differ by part: version 1 for `mws`, `mwss`, `mtls` and
/// BIND, 2 for `mtcp`.
let muxKeys: [MetadataKey] =
  [
    MetadataKey("mux.version", .int(1...2), .available, "version of smux, the same at both ends"),
    MetadataKey("mux.keepaliveInterval", .duration, .available, "time between keepalive frames"),
    MetadataKey("mux.keepaliveDisabled", .bool, .available, "send no keepalive frames"),
    MetadataKey("mux.keepaliveTimeout", .duration, .available, "silence after which the session ends"),
    MetadataKey("mux.maxFrameSize", .int(1...65535), .available, "largest frame, bytes"),
    MetadataKey("mux.maxReceiveBuffer", .int(positive), .available, "bytes that a session holds for its streams"),
    MetadataKey("mux.maxStreamBuffer", .int(positive), .available, "bytes that a stream holds, version 2"),
    MetadataKey("mux.type", .choice(["smux"], later: ["yamux"]), .available, "the protocol of the session"),
    MetadataKey("mux.maxStreamWindow", .anything, .withoutEffect("it is for yamux, which is not yet supported")),
  ] + documentedMuxKeys

/// Names that GOST's documentation has and its code does not read.
private let documentedMuxKeys: [MetadataKey] = [
  ("muxKeepAliveDisabled", "mux.keepaliveDisabled"), ("muxKeepAliveInterval", "mux.keepaliveInterval"),
  ("muxKeepAliveTimeout", "mux.keepaliveTimeout"), ("muxMaxFrameSize", "mux.maxFrameSize"),
  ("muxMaxReceiveBuffer", "mux.maxReceiveBuffer"), ("muxMaxStreamBuffer", "mux.maxStreamBuffer"),
  ("muxType", "mux.type"), ("muxMaxStreamWindow", "mux.maxStreamWindow"),
].map {
  MetadataKey($0.0, .anything, .withoutEffect("it is named so in GOST's documentation only; GOST reads `\($0.1)`"))
}

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
  + ["limiter.refreshInterval|limiterRefreshInterval", "limiter.cleanupInterval|limiterCleanupInterval"].map {
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

/// The same where the plain names mean WebSocket's own keepalive.
let prefixedTCPKeepaliveKeys: [MetadataKey] = [
  MetadataKey("tcp.keepalive", .bool, .available, "TCP keepalive on dialled connections"),
  MetadataKey("tcp.keepalive.idle", .duration, .available, "idle time before the first TCP keepalive probe"),
  MetadataKey("tcp.keepalive.interval", .duration, .available, "time between TCP keepalive probes"),
  MetadataKey("tcp.keepalive.count", .int(positive), .available, "unanswered TCP keepalive probes before the end"),
]

/// Keys of WebSocket that both ends have.
let webSocketKeys: [MetadataKey] =
  [
    MetadataKey("ws.path|path", .path, .available, "path of the request, the same at both ends; `/ws` when absent"),
    MetadataKey("ws.header|header", .texts, .available, "further lines of the HTTP header"),
    MetadataKey("ws.handshakeTimeout|handshakeTimeout", .duration, .available, "time for the handshake"),
    MetadataKey("ws.readHeaderTimeout|readHeaderTimeout", .duration, .available, "time for the peer's HTTP header"),
    MetadataKey("ws.enableCompression|enableCompression", .bool, .notYet, "permessage-deflate"),
  ]
  + ["ws.readBufferSize|readBufferSize", "ws.writeBufferSize|writeBufferSize"].map {
    MetadataKey($0, .anything, .withoutEffect("buffers have the size of what is in them"))
  }

/// What a proxy that goes where its clients want may reach. Culvert's own; GOST ignores these keys.
let egressKeys: [MetadataKey] = [
  MetadataKey("egress.allow", .targets, .available, "targets that an open proxy reaches as well"),
  MetadataKey("egress.deny", .targets, .available, "targets that are refused; the more exact of two rules decides"),
]

let readTimeoutKey = MetadataKey("readTimeout", .duration, .available, "time for the client's request")
let hashKey = MetadataKey(
  "hash", .choice(["host"], later: []), .available, "what the strategy `hash` goes by: the target, else the client")
let skipAuthKey = MetadataKey("skipauth", .networks, .available, "clients that need no credentials")
let timeoutKey = MetadataKey("timeout|connectTimeout", .duration, .available, "time for the node's answer")
let udpBufferKey = MetadataKey(
  "udp.bufferSize|udpBufferSize", .anything, .withoutEffect("every datagram passes whole, up to 65,535 bytes"))
let idleTimeoutKey = MetadataKey("idleTimeout", .duration, .notYet, "silence after which a connection ends")

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
      MetadataKey("proxyProtocol", .int(0...2), .available, "expect a PROXY protocol header, version 1 or 2"),
      MetadataKey("ignoreChain", .bool, .available, "go without the chains that the service names"),
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
    MetadataKey("proxyProtocol", .int(0...2), .available, "send a PROXY protocol header of this version to the node"),
    MetadataKey("netns", .anything, .notYet),
  ]

  /// Keys of a chain's `metadata`: they matter to a group of chains.
  public static let chainKeys: [MetadataKey] = ["weight", "backup", "maxFails", "failTimeout"].map {
    MetadataKey($0, .anything, .withoutEffect("it is for choosing one of several chains, which is not yet supported"))
  }

  /// Keys of a node's `metadata`.
  public static let nodeKeys: [MetadataKey] = hopKeys + targetKeys

  /// Keys of the `metadata` of a forwarder's node.
  public static let targetKeys: [MetadataKey] = [
    MetadataKey("weight", .int(positive), .available, "how often the strategy `random` takes it, 1 when absent"),
    MetadataKey("backup", .bool, .available, "taken only while every other one has failed"),
    MetadataKey("maxFails", .int(positive), .available, "failures after which it is left out"),
    MetadataKey("failTimeout", .duration, .available, "how long it is left out"),
  ]

  /// Keys of an item of a service's `peers`, named as in the files of `wg`.
  public static let peerKeys: [MetadataKey] = [
    MetadataKey("name", .string, .available, "its name in logs and in `culvert path`"),
    MetadataKey("publicKey", .string, .available, "the peer's key, Base64 as `culvert pubkey` prints it"),
    MetadataKey("presharedKey", .secret, .available, "a key that both ends share besides, Base64"),
    MetadataKey("presharedKeyFile", .string, .available, "a file that holds the shared key"),
    MetadataKey("allowedIPs", .networks, .available, "addresses and networks behind the peer: what it may send from"),
    MetadataKey("endpoint", .string, .available, "where the peer is, such as `vpn.example:51820`; absent: it comes"),
    MetadataKey(
      "persistentKeepalive", .duration, .available, "silence after which an empty packet keeps the way open"),
  ]
}
