/// Connectors: what is spoken to a node.
extension PartCatalog {
  public static let connectors: [PartDescriptor] = [
    PartDescriptor(
      .connector, ["relay"], .available, "GOST's relay protocol",
      keys: [
        MetadataKey("nodelay", .bool, .available, "send the request at once (Culvert always does)"),
        MetadataKey(
          "connectTimeout", .anything,
          .withoutEffect("a tunnel that gets no answer is dialled anew by a clock of its own")),
      ] + muxKeys,
      speaks: [.relay], authentication: .credentials, overhead: Overhead(bytes: 2)),
    PartDescriptor(
      .connector, ["forward"], .available, "nothing: the node decides where the bytes go", speaks: [.raw]),
    later(["http"], "HTTP CONNECT", [.http]),
    later(["http2"], "HTTP/2 CONNECT", [.http2]),
    later(["masque"], "CONNECT-UDP over HTTP/3", [.masque]),
    later(["socks4", "socks4a"], "SOCKS4", [.socks4]),
    later(["socks5", "socks"], "SOCKS5", [.socks5]),
    later(["ss"], "Shadowsocks for TCP", [.shadowsocks]),
    later(["ssu"], "Shadowsocks for UDP", [.shadowsocksUDP]),
    later(["tunnel"], "the client of a reverse-proxy tunnel", [.tunnel]),
    later(["router"], "GOST's router protocol", [.router]),
    later(["direct", "virtual"], "nothing: the target is dialled from here", []),
    later(["tcp"], "nothing: the node decides where the bytes go", [.raw]),
    later(["unix"], "nothing: bytes of a UNIX socket", [.raw]),
    later(["serial"], "nothing: bytes of a serial port", [.raw]),
    later(["sni"], "SNI obfuscation", [.sni]),
    later(["sshd"], "SSH port forwarding", [.ssh]),
  ]

  private static func later(_ names: [String], _ summary: String, _ speaks: [WireProtocol]) -> PartDescriptor {
    PartDescriptor(.connector, names, .notYet, summary, speaks: speaks, authentication: .credentials)
  }
}
