/// Handlers: what is spoken on an accepted connection.
extension PartCatalog {
  public static let handlers: [PartDescriptor] = [
    PartDescriptor(
      .handler, ["tun"], .available, "one end of a TUN tunnel over UDP",
      keys: [
        MetadataKey("tun.keepalive|keepalive", .bool, .available, "client: announce itself again every `ttl`"),
        MetadataKey("tun.ttl|ttl", .duration, .available, "client: time between two announcements"),
        MetadataKey("tun.token|token|passphrase", .secret, .available, "passphrase of the client, at most 16 bytes"),
        MetadataKey("tun.p2p|p2p", .bool, .available, "one client, to which every packet goes"),
        skipAuthKey,
      ] + oldTunKeys,
      carries: .device, speaks: [.tun], authentication: .passphrase),
    PartDescriptor(
      .handler, ["relay"], .available, "GOST's relay protocol",
      keys: [
        MetadataKey("readTimeout", .duration, .available, "time for the client's request"),
        MetadataKey("bind", .bool, .available, "serve BIND requests"),
        MetadataKey("nodelay", .bool, .available, "answer at once (Culvert always does)"),
        MetadataKey(
          "udp.bufferSize|udpBufferSize", .anything,
          .withoutEffect("every datagram passes whole, up to 65,535 bytes")),
        MetadataKey(
          "hash", .anything, .withoutEffect("it is for choosing one of several nodes, which is not yet supported")),
        skipAuthKey,
        MetadataKey(
          "enableStats", .anything, .withoutEffect("it is a key of the service's own metadata")),
      ] + muxKeys + observationKeys + sniffingKeys,
      speaks: [.relay], authentication: .credentials, overhead: Overhead(bytes: 2)),
    later(["auto"], "SOCKS4, SOCKS5 and HTTP on one port", [.socks4, .socks5, .http], .credentials),
    later(["http"], "an HTTP proxy", [.http], .credentials),
    later(["http2"], "an HTTP/2 proxy", [.http2], .credentials),
    later(["http3"], "a reverse proxy over HTTP/3", [.http3]),
    later(["masque"], "CONNECT-UDP over HTTP/3", [.masque], .credentials),
    later(["socks4", "socks4a"], "a SOCKS4 proxy", [.socks4], .credentials),
    later(["socks5", "socks"], "a SOCKS5 proxy", [.socks5], .credentials),
    later(["ss"], "Shadowsocks for TCP", [.shadowsocks], .credentials),
    later(["ssu"], "Shadowsocks for UDP", [.shadowsocksUDP], .credentials),
    later(["tunnel"], "the server of a reverse-proxy tunnel", [.tunnel], .credentials),
    later(["router"], "an IP router for clients that speak GOST's router protocol", [.router], .credentials),
    later(["tap"], "one end of a TAP tunnel over UDP", [.tap], .credentials),
    later(["tungo"], "TCP and UDP flows of a TUN interface, each dialled by itself", []),
    later(["tcp"], "a port forward", [.raw]),
    later(["udp"], "a port forward", [.raw]),
    later(["forward"], "a port forward", [.raw]),
    later(["rtcp"], "the handler of a remote port forward", [.raw]),
    later(["rudp"], "the handler of a remote port forward", [.raw]),
    later(["runix"], "the handler of a remote forward of a UNIX socket", [.raw]),
    later(["unix"], "a forward of a UNIX socket", [.raw]),
    later(["serial"], "a forward of a serial port", [.raw]),
    later(["red", "redir", "redirect"], "a transparent proxy for TCP", []),
    later(["redu"], "a transparent proxy for UDP", []),
    later(["sni"], "a pass-through proxy by SNI or Host", [.sni, .http]),
    later(["dns"], "a DNS proxy", [.dns]),
    later(["sshd"], "SSH port forwarding", [.ssh]),
    later(["file"], "a file server", [.file], .credentials),
    later(["api"], "GOST's web API as a service", [.api], .credentials),
    later(["metrics"], "metrics as a service", [.metrics], .credentials),
  ]

  private static let skipAuthKey = MetadataKey("skipauth", .anything, .notYet, "clients that need no credentials")

  private static func later(
    _ names: [String], _ summary: String, _ speaks: [WireProtocol], _ authentication: Authentication = .ignored
  ) -> PartDescriptor {
    PartDescriptor(.handler, names, .notYet, summary, speaks: speaks, authentication: authentication)
  }
}
