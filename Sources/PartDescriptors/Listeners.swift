/// Listeners: how bytes arrive.
extension PartCatalog {
  public static let listeners: [PartDescriptor] = [
    PartDescriptor(
      .listener, ["tun"], .available, "a TUN interface of this host",
      keys: [
        MetadataKey("name|tun.name", .string, .available, "interface name; the kernel chooses when it is absent"),
        MetadataKey("net|tun.net", .prefixes, .available, "addresses of the interface, IPv4 and IPv6"),
        MetadataKey("mtu|tun.mtu", .int(68...65535), .available, "MTU of the interface, bytes"),
        MetadataKey("gw|tun.gw", .address, .available, "gateway of the routes that name none"),
        MetadataKey("route|tun.route", .prefixes, .available, "networks to route into the interface"),
        MetadataKey("routes|tun.routes", .routes, .available, "routes, each with a gateway of its own"),
        MetadataKey(
          "peer|tun.peer", .address,
          .withoutEffect("it is the far address of a macOS interface, and this is Linux"), "macOS: the far address"),
        MetadataKey("router|tun.router", .anything, .notYet),
        MetadataKey("dns|tun.dns", .addresses, .available, "name servers of the interface, by `resolvectl`"),
        MetadataKey("guid|tun.guid", .anything, .withoutEffect("it names a Windows adapter, and this is Linux")),
      ] + oldTunKeys,
      carries: .device, transport: "tun", portMeaning: .port),
    PartDescriptor(
      .listener, ["wireguard"], .available, "a WireGuard interface of this host, and its UDP socket",
      keys: [
        MetadataKey("name", .string, .available, "interface name; that of the service when it is absent"),
        MetadataKey("net|address", .networks, .available, "addresses of the interface, IPv4 and IPv6"),
        MetadataKey("mtu", .int(68...65535), .available, "MTU of the interface, bytes"),
        MetadataKey("dns", .addresses, .available, "name servers of the interface, by `resolvectl`"),
        MetadataKey("domains", .strings, .available, "domains to search in by these servers, by `resolvectl`"),
        MetadataKey(
          "table", .choice(["auto", "off"], later: []), .available,
          "`auto` routes what the peers are allowed to send into the interface, `off` routes nothing"),
      ],
      carries: .device, transport: "wireguard"),
    PartDescriptor(
      .listener, ["udp"], .available, "UDP, one session for each source address",
      keys: [
        MetadataKey("keepalive", .bool, .available, "keep a session after its first answer (Culvert always does)"),
        MetadataKey("ttl|keepalive.ttl", .duration, .available, "silence after which a session ends"),
        wholeDatagramsKey("readBufferSize|udp.bufferSize"),
        MetadataKey("readQueueSize|recvQueueSize", .int(positive), .available, "datagrams waiting in a session"),
        backlogKey,
        MetadataKey("stateless", .anything, .notYet),
        MetadataKey(
          "relay", .anything, .withoutEffect("it is in GOST's documentation only, and GOST does not read it")),
      ],
      carries: .datagrams, transport: "udp"),
    PartDescriptor(
      .listener, ["tcp"], .available, "TCP",
      keys: tcpKeepaliveKeys + [mptcpKey, reusePortKey], transport: "tcp", abilities: [.proxyProtocol]),
    PartDescriptor(
      .listener, ["tls"], .available, "TLS over TCP", keys: tcpKeepaliveKeys + [mptcpKey], transport: "tls",
      overhead: Overhead(bytes: 22), encrypts: true, abilities: [.proxyProtocol]),
    PartDescriptor(
      .listener, ["dtls"], .available, "DTLS 1.2 over UDP, for the handler `turn`", carries: .datagrams,
      transport: "dtls", encrypts: true),
    PartDescriptor(
      .listener, ["quic"], .available, "QUIC, one stream for each connection",
      keys: quicKeys + [maxStreamsKey, backlogKey] + quicOnlyKeys,
      transport: "quic", overhead: quicOverhead, encrypts: true),
    PartDescriptor(
      .listener, ["icmp"], .available, "QUIC inside ICMP echo, IPv4", keys: quicKeys + [maxStreamsKey, backlogKey],
      transport: "icmp", family: .ipv4, overhead: echoOverhead,
      portMeaning: .echoIdentifier, encrypts: true),
    PartDescriptor(
      .listener, ["icmp6"], .available, "QUIC inside ICMPv6 echo", keys: quicKeys + [maxStreamsKey, backlogKey],
      transport: "icmp6", family: .ipv6, overhead: echoOverhead,
      portMeaning: .echoIdentifier, encrypts: true),
    PartDescriptor(
      .listener, ["ws"], .available, "WebSocket", keys: webSocketListenerKeys, transport: "ws",
      overhead: Overhead(bytes: 4), abilities: [.proxyProtocol]),
    PartDescriptor(
      .listener, ["wss"], .available, "WebSocket over TLS", keys: webSocketListenerKeys, transport: "wss",
      overhead: Overhead(bytes: 26), encrypts: true, abilities: [.proxyProtocol]),
    PartDescriptor(
      .listener, ["mws"], .available, "streams multiplexed over WebSocket", keys: webSocketListenerKeys + muxKeys,
      transport: "mws", overhead: Overhead(bytes: 12), abilities: [.proxyProtocol, .multiplexes]),
    PartDescriptor(
      .listener, ["mwss"], .available, "streams multiplexed over WebSocket over TLS",
      keys: webSocketListenerKeys + muxKeys, transport: "mwss", overhead: Overhead(bytes: 34), encrypts: true,
      abilities: [.proxyProtocol, .multiplexes]),
    PartDescriptor(
      .listener, ["mtls"], .available, "streams multiplexed over TLS (not mutual TLS)",
      keys: tcpKeepaliveKeys + [mptcpKey, backlogKey] + muxKeys, transport: "mtls", overhead: Overhead(bytes: 30),
      encrypts: true, abilities: [.proxyProtocol, .multiplexes]),
    PartDescriptor(
      .listener, ["mtcp"], .available, "streams multiplexed over TCP",
      keys: tcpKeepaliveKeys + [mptcpKey, reusePortKey, backlogKey] + muxKeys, transport: "mtcp",
      overhead: Overhead(bytes: 8), abilities: [.proxyProtocol, .multiplexes]),
    PartDescriptor(
      .listener, ["rtcp"], .available, "a TCP port of the last node of its chain", abilities: [.remote]),
    PartDescriptor(
      .listener, ["rudp"], .available, "a UDP port of the last node of its chain",
      keys: [
        MetadataKey("ttl", .duration, .available, "silence after which a session ends"),
        wholeDatagramsKey("readBufferSize"),
        MetadataKey("readQueueSize", .int(positive), .available, "datagrams waiting in a session"), backlogKey,
      ],
      carries: .datagrams, abilities: [.remote]),
    PartDescriptor(
      .listener, ["turn"], .available, "a relayed address of a TURN server, one session for each peer",
      keys: turnListenerKeys, carries: .datagrams, portMeaning: .none, abilities: [.signsIn]),
    later(["h2"], "a stream for each HTTP/2 request, TLS", transport: "h2", encrypts: true),
    later(["h2c"], "a stream for each HTTP/2 request, clear text", transport: "h2c"),
    later(["http2"], "an HTTP/2 server for the handler `http2`", transport: "http2", encrypts: true),
    later(["http3"], "an HTTP/3 server for the handlers `http3` and `masque`", transport: "http3", encrypts: true),
    later(["h3"], "a plain HTTP tunnel over HTTP/3", transport: "h3", encrypts: true),
    later(["wt"], "WebTransport streams", transport: "wt", encrypts: true),
    later(["grpc"], "a gRPC stream for each connection", transport: "grpc", encrypts: true),
    later(["kcp"], "KCP", transport: "kcp"),
    later(["ftcp"], "fake TCP packets as datagrams", transport: "ftcp"),
    later(["pht"], "a plain HTTP tunnel", transport: "pht"),
    later(["phts"], "a plain HTTP tunnel over TLS", transport: "phts", encrypts: true),
    later(["ohttp"], "HTTP obfuscation", transport: "ohttp"),
    later(["otls"], "TLS obfuscation", transport: "otls"),
    later(["ssh"], "an SSH channel as a stream", transport: "ssh", encrypts: true),
    later(["sshd"], "an SSH server for the handler `sshd`", transport: "sshd", encrypts: true),
    later(["red", "redir", "redirect"], "redirected TCP connections"),
    later(["redu"], "redirected UDP packets"),
    later(["runix"], "a UNIX socket of the last node of its chain"),
    later(["tap"], "a TAP interface of this host"),
    later(["tungo"], "a TUN interface for the handler `tungo`"),
    later(["dns"], "a DNS server"),
    later(["unix"], "a UNIX socket", transport: "unix"),
    later(["serial"], "a serial port", transport: "serial"),
    later(["stdio"], "standard input and output"),
  ]

  static let quicOnlyKeys: [MetadataKey] = [
    MetadataKey("cipherKey", .anything, .notYet),
    MetadataKey("quic.enableDatagram|enableDatagram", .bool, .notYet),
  ]

  private static func wholeDatagramsKey(_ names: String) -> MetadataKey {
    MetadataKey(names, .anything, .withoutEffect("every datagram passes whole, up to 65,507 bytes"))
  }

  private static let reusePortKey = MetadataKey("reuseport", .bool, .notYet, "SO_REUSEPORT")

  private static let webSocketListenerKeys: [MetadataKey] =
    webSocketKeys + tcpKeepaliveKeys + [
      mptcpKey,
      MetadataKey(
        "ws.backlog|backlog", .anything,
        .withoutEffect("a connection is handed on at once, so there is no queue to size")),
    ]

  private static func later(
    _ names: [String], _ summary: String, transport: String? = nil, encrypts: Bool = false
  ) -> PartDescriptor {
    PartDescriptor(.listener, names, .notYet, summary, transport: transport, encrypts: encrypts)
  }
}
