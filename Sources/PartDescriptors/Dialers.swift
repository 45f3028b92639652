/// Dialers: how bytes leave.
extension PartCatalog {
  public static let dialers: [PartDescriptor] = [
    PartDescriptor(.dialer, ["udp"], .available, "UDP", carries: .datagrams, transport: "udp"),
    PartDescriptor(
      .dialer, ["tcp"], .available, "TCP", keys: tcpKeepaliveKeys, transport: "tcp", abilities: [.proxyProtocol]),
    PartDescriptor(
      .dialer, ["tls"], .available, "TLS over TCP",
      keys: tcpKeepaliveKeys + [handshakeTimeoutKey],
      transport: "tls", overhead: Overhead(bytes: 22), encrypts: true, abilities: [.proxyProtocol]),
    PartDescriptor(
      .dialer, ["quic"], .available, "QUIC, one stream for each connection",
      keys: quicKeys + [maxStreamsKey] + quicOnlyKeys,
      transport: "quic", overhead: quicOverhead, encrypts: true),
    PartDescriptor(
      .dialer, ["icmp"], .available, "QUIC inside ICMP echo, IPv4", keys: quicKeys + [maxStreamsKey],
      transport: "icmp", family: .ipv4, overhead: echoOverhead,
      portMeaning: .echoIdentifier, encrypts: true),
    PartDescriptor(
      .dialer, ["icmp6"], .available, "QUIC inside ICMPv6 echo", keys: quicKeys + [maxStreamsKey],
      transport: "icmp6", family: .ipv6, overhead: echoOverhead,
      portMeaning: .echoIdentifier, encrypts: true),
    PartDescriptor(
      .dialer, ["ws"], .available, "WebSocket", keys: webSocketDialerKeys, transport: "ws",
      overhead: Overhead(bytes: 8), abilities: [.proxyProtocol]),
    PartDescriptor(
      .dialer, ["wss"], .available, "WebSocket over TLS", keys: webSocketDialerKeys, transport: "wss",
      overhead: Overhead(bytes: 30), encrypts: true, abilities: [.proxyProtocol]),
    PartDescriptor(
      .dialer, ["mws"], .available, "streams multiplexed over WebSocket", keys: webSocketDialerKeys + muxKeys,
      transport: "mws", overhead: Overhead(bytes: 16), abilities: [.proxyProtocol, .multiplexes]),
    PartDescriptor(
      .dialer, ["mwss"], .available, "streams multiplexed over WebSocket over TLS",
      keys: webSocketDialerKeys + muxKeys, transport: "mwss", overhead: Overhead(bytes: 38), encrypts: true,
      abilities: [.proxyProtocol, .multiplexes]),
    PartDescriptor(
      .dialer, ["mtls"], .available, "streams multiplexed over TLS (not mutual TLS)",
      keys: tcpKeepaliveKeys + [handshakeTimeoutKey] + muxKeys, transport: "mtls", overhead: Overhead(bytes: 30),
      encrypts: true, abilities: [.proxyProtocol, .multiplexes]),
    PartDescriptor(
      .dialer, ["mtcp"], .available, "streams multiplexed over TCP",
      keys: tcpKeepaliveKeys + [handshakeTimeoutKey] + muxKeys, transport: "mtcp", overhead: Overhead(bytes: 8),
      abilities: [.proxyProtocol, .multiplexes]),
    PartDescriptor(
      .dialer, ["wireguard"], .available, "TCP through a WireGuard interface of this file",
      keys: tcpKeepaliveKeys + [
        MetadataKey("service", .string, .available, "name of the service that has the interface")
      ],
      transport: "tcp", abilities: [.proxyProtocol]),
    PartDescriptor(
      .dialer, ["turn"], .available, "datagrams through a TURN server", keys: turnClientKeys, carries: .datagrams,
      transport: "turn", overhead: Overhead(bytes: PacketSizes.channelHeader)),
    PartDescriptor(
      .dialer, ["direct", "virtual"], .available, "no node: the target is dialled from here", portMeaning: .none),
    later(["utls"], "TLS with the fingerprint of a browser", transport: "tls", encrypts: true),
    later(["h2"], "a stream for each HTTP/2 request, TLS", transport: "h2", encrypts: true),
    later(["h2c"], "a stream for each HTTP/2 request, clear text", transport: "h2c"),
    later(["http2"], "HTTP/2 for the connector `http2`", transport: "http2", encrypts: true),
    later(["h3", "http3"], "a plain HTTP tunnel over HTTP/3", transport: "h3", encrypts: true),
    later(["h3-masque"], "HTTP/3 for the connector `masque`", transport: "http3", encrypts: true),
    later(["wt"], "WebTransport streams", transport: "wt", encrypts: true),
    later(["grpc"], "a gRPC stream for each connection", transport: "grpc", encrypts: true),
    later(["kcp"], "KCP", transport: "kcp"),
    later(["dtls"], "DTLS 1.2", transport: "dtls", encrypts: true),
    later(["ftcp"], "fake TCP packets as datagrams", transport: "ftcp"),
    later(["pht"], "a plain HTTP tunnel", transport: "pht"),
    later(["phts"], "a plain HTTP tunnel over TLS", transport: "phts", encrypts: true),
    later(["ohttp"], "HTTP obfuscation", transport: "ohttp"),
    later(["ohttps"], "HTTP obfuscation (GOST sends it without TLS)", transport: "ohttp"),
    later(["otls"], "TLS obfuscation", transport: "otls"),
    later(["ssh"], "an SSH channel as a stream", transport: "ssh", encrypts: true),
    later(["sshd"], "SSH for the connector `sshd`", transport: "sshd", encrypts: true),
    later(["unix"], "a UNIX socket", transport: "unix"),
    later(["serial"], "a serial port", transport: "serial"),
  ]

  static let quicOverhead = Overhead(bytes: PacketCarrier.frame, packets: .udp)
  /// The envelope's ten bytes as well.
  static let echoOverhead = Overhead(bytes: PacketCarrier.frame + 10, packets: .echo)

  private static let handshakeTimeoutKey = MetadataKey(
    "handshakeTimeout", .duration, .available, "time for the handshake")

  private static let webSocketDialerKeys: [MetadataKey] =
    [
      MetadataKey("ws.host|host", .string, .available, "`Host` of the request; the node's address when absent"),
      MetadataKey("ws.keepalive|keepalive", .bool, .available, "WebSocket pings"),
      MetadataKey("ttl|keepalive.interval", .duration, .available, "time between WebSocket pings"),
    ] + webSocketKeys + prefixedTCPKeepaliveKeys

  private static func later(
    _ names: [String], _ summary: String, transport: String? = nil, encrypts: Bool = false
  ) -> PartDescriptor {
    PartDescriptor(.dialer, names, .notYet, summary, transport: transport, encrypts: encrypts)
  }
}
