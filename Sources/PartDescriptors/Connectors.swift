/// Connectors: what is spoken to a node.
extension PartCatalog {
  public static let connectors: [PartDescriptor] = [
    PartDescriptor(
      .connector, ["relay"], .available, "GOST's relay protocol",
      keys: [
        MetadataKey("nodelay", .bool, .available, "send the request at once (Culvert always does)"),
        MetadataKey("connectTimeout", .duration, .available, "time for the node's answer"),
      ] + muxKeys,
      speaks: [.relay], authentication: .credentials, overhead: Overhead(bytes: PacketSizes.streamFrame),
      abilities: [.datagrams, .bind]),
    PartDescriptor(
      .connector, ["forward"], .available, "nothing: the node decides where the bytes go", speaks: [.raw]),
    PartDescriptor(
      .connector, ["tcp"], .available, "nothing: the node decides where the bytes go", speaks: [.raw]),
    PartDescriptor(
      .connector, ["http"], .available, "HTTP CONNECT",
      keys: [timeoutKey, MetadataKey("header", .texts, .available, "further lines of the request's header")],
      speaks: [.http], authentication: .credentials, overhead: udpTunOverhead, abilities: [.datagrams]),
    PartDescriptor(
      .connector, ["socks4", "socks4a"], .available, "SOCKS4",
      keys: [timeoutKey, MetadataKey("disable4a", .bool, .available, "resolve names here, for nodes without SOCKS4A")],
      speaks: [.socks4], authentication: .userName),
    PartDescriptor(
      .connector, ["socks5", "socks"], .available, "SOCKS5",
      keys: [
        timeoutKey, MetadataKey("notls", .bool, .available, "do not offer GOST's TLS inside SOCKS5"),
        MetadataKey(
          "relay", .choice(["udp"], later: []), .available, "send datagrams by UDP to the node, not in the stream"),
        udpBufferKey, MetadataKey("udp.timeout", .anything, .notYet),
      ] + muxKeys,
      speaks: [.socks5], authentication: .credentials, overhead: udpTunOverhead, abilities: [.datagrams, .bind, .tls]),
    PartDescriptor(
      .connector, ["turn"], .available, "TURN, with the dialer of the same name", speaks: [.turn],
      authentication: .credentials, abilities: [.datagrams]),
    PartDescriptor(
      .connector, ["direct", "virtual"], .available, "nothing: the target is dialled from here",
      keys: [MetadataKey("action", .choice(["reject"], later: []), .available, "`reject`: a dead end")],
      abilities: [.datagrams]),
    later(["http2"], "HTTP/2 CONNECT", [.http2]),
    later(["masque"], "CONNECT-UDP over HTTP/3", [.masque]),
    later(["ss"], "Shadowsocks for TCP", [.shadowsocks]),
    later(["ssu"], "Shadowsocks for UDP", [.shadowsocksUDP]),
    later(["tunnel"], "the client of a reverse-proxy tunnel", [.tunnel]),
    later(["router"], "GOST's router protocol", [.router]),
    later(["unix"], "nothing: bytes of a UNIX socket", [.raw]),
    later(["serial"], "nothing: bytes of a serial port", [.raw]),
    later(["sni"], "SNI obfuscation", [.sni]),
    later(["sshd"], "SSH port forwarding", [.ssh]),
  ]

  /// A datagram in a stream has SOCKS5's UDP header, with an IPv6 address at most where the target is one.
  static let udpTunOverhead = Overhead(bytes: 22)

  private static func later(_ names: [String], _ summary: String, _ speaks: [WireProtocol]) -> PartDescriptor {
    PartDescriptor(.connector, names, .notYet, summary, speaks: speaks, authentication: .credentials)
  }
}
