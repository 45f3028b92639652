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
        MetadataKey("skipauth", .anything, .notYet, "clients that need no credentials"),
      ] + oldTunKeys,
      carries: .device, speaks: [.tun], authentication: .passphrase),
    PartDescriptor(
      .handler, ["wireguard"], .available, "WireGuard with the peers of the service",
      keys: [
        MetadataKey("privateKey", .secret, .available, "this end's key, Base64 as `culvert genkey` prints it"),
        MetadataKey("privateKeyFile", .string, .available, "a file that holds this end's key"),
        MetadataKey("postQuantum", .bool, .available, "between two Culverts: ML-KEM secrets in each session; true"),
        MetadataKey("probeMTU", .bool, .available, "between two Culverts: look for the path's MTU; true"),
      ],
      carries: .device, speaks: [.wireGuard]),
    PartDescriptor(
      .handler, ["turn"], .available, "a STUN and TURN server", keys: turnServerKeys, carries: .both, speaks: [.turn],
      authentication: .credentials),
    PartDescriptor(
      .handler, ["metrics"], .available, "what is counted, for Prometheus",
      keys: [readTimeoutKey, MetadataKey("metrics.path|path", .path, .available, "where the page is, `/metrics`")],
      speaks: [.metrics], authentication: .credentials),
    PartDescriptor(
      .handler, ["relay"], .available, "GOST's relay protocol",
      keys: [
        readTimeoutKey, MetadataKey("bind", .bool, .available, "serve BIND requests"),
        MetadataKey("nodelay", .bool, .available, "answer at once (Culvert always does)"), udpBufferKey,
        MetadataKey("enableStats", .anything, .withoutEffect("it is a key of the service's own metadata")),
      ] + choiceKeys + muxKeys + observationKeys + sniffingKeys,
      speaks: [.relay], authentication: .credentials, overhead: Overhead(bytes: PacketSizes.streamFrame),
      abilities: [.proxies, .forwards]),
    PartDescriptor(
      .handler, ["auto"], .available, "SOCKS4, SOCKS5 and HTTP on one port",
      keys: [readTimeoutKey, udpKey, udpBufferKey] + httpKeys + socks5Keys + choiceKeys + observationKeys
        + sniffingKeys,
      speaks: [.socks4, .socks5, .http], authentication: .credentials, abilities: [.proxies, .tls]),
    PartDescriptor(
      .handler, ["http"], .available, "an HTTP proxy",
      keys: [readTimeoutKey, udpKey, udpBufferKey] + httpKeys + choiceKeys + observationKeys + sniffingKeys,
      speaks: [.http], authentication: .credentials, overhead: udpTunOverhead, abilities: [.proxies]),
    PartDescriptor(
      .handler, ["socks4", "socks4a"], .available, "a SOCKS4 proxy",
      keys: [readTimeoutKey] + choiceKeys + observationKeys + sniffingKeys,
      speaks: [.socks4], authentication: .userName, abilities: [.proxies]),
    PartDescriptor(
      .handler, ["socks5", "socks"], .available, "a SOCKS5 proxy",
      keys: [readTimeoutKey, udpKey, udpBufferKey] + socks5Keys + choiceKeys + observationKeys + sniffingKeys,
      speaks: [.socks5], authentication: .credentials, overhead: udpTunOverhead, abilities: [.proxies, .tls]),
    forward("tcp", "a port forward"), forward("udp", "a port forward"), forward("forward", "a port forward"),
    forward("rtcp", "the handler of a remote port forward"), forward("rudp", "the handler of a remote port forward"),
    later(["http2"], "an HTTP/2 proxy", [.http2], .credentials),
    later(["http3"], "a reverse proxy over HTTP/3", [.http3]),
    later(["masque"], "CONNECT-UDP over HTTP/3", [.masque], .credentials),
    later(["ss"], "Shadowsocks for TCP", [.shadowsocks], .credentials),
    later(["ssu"], "Shadowsocks for UDP", [.shadowsocksUDP], .credentials),
    later(["tunnel"], "the server of a reverse-proxy tunnel", [.tunnel], .credentials),
    later(["router"], "an IP router for clients that speak GOST's router protocol", [.router], .credentials),
    later(["tap"], "one end of a TAP tunnel over UDP", [.tap], .credentials),
    later(["tungo"], "TCP and UDP flows of a TUN interface, each dialled by itself", []),
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
  ]

  /// What every handler has that goes where its clients want.
  private static let choiceKeys: [MetadataKey] = [hashKey, skipAuthKey] + egressKeys

  private static let udpKey = MetadataKey("udp", .bool, .available, "serve datagrams as well")

  private static let httpKeys: [MetadataKey] = [
    MetadataKey("http.header|header", .texts, .available, "further lines of the header of this proxy's own answers"),
    MetadataKey("authBasicRealm", .string, .available, "the realm that a browser shows when it asks for a password"),
    MetadataKey("http.proxyAgent|proxyAgent", .string, .available, "`Proxy-Agent` of this proxy's own answers"),
    MetadataKey(
      "http.keepalive|keepalive", .anything,
      .withoutEffect("a client's connection lives as long as HTTP/1.1 has it, and the target's for one request")),
    MetadataKey("http.compression|compression", .bool, .notYet),
    idleTimeoutKey,
    MetadataKey(
      "probeResist|probe_resist", .anything, .notYet, "answers of another server to those without a password"),
    MetadataKey("knock", .anything, .withoutEffect("it is for `probeResist`, which is not yet supported")),
  ]

  private static let socks5Keys: [MetadataKey] =
    [
      MetadataKey("notls", .bool, .available, "do not take GOST's TLS inside SOCKS5"),
      MetadataKey("bind", .bool, .available, "serve BIND requests"),
      MetadataKey(
        "socks.publicAddr|publicAddr", .string, .available, "the IP address that is told to clients for UDP and BIND"),
      MetadataKey("udp.bindRange.min|udp.minPort", .int(1...65535), .available, "lowest port for UDP"),
      MetadataKey("udp.bindRange.max|udp.maxPort", .int(1...65535), .available, "highest port for UDP"),
      MetadataKey("comp", .bool, .available, "BIND as GOST v2 has it"),
      MetadataKey("udp.resolveDomain|udpResolveDomain", .bool, .notYet),
      MetadataKey("tor|enableTor|socks5.tor", .bool, .notYet, "Tor's RESOLVE and RESOLVE_PTR"),
    ] + muxKeys

  /// GOST's local and remote forwards are one handler each under three and two names.
  private static func forward(_ name: String, _ summary: String) -> PartDescriptor {
    let onlySniffing: KeyAvailability = .withoutEffect("it is for `sniffing`, which is not yet supported")
    return PartDescriptor(
      .handler, [name], .available, summary,
      keys: [
        MetadataKey(
          "proxyProtocol", .int(0...2), .available, "send a PROXY protocol header of this version to the target"),
        idleTimeoutKey, MetadataKey("readTimeout", .anything, onlySniffing),
        MetadataKey("http.keepalive", .anything, onlySniffing), MetadataKey("stateless", .bool, .notYet),
        MetadataKey(
          "bufferSize|readBufferSize|udp.bufferSize", .anything,
          .withoutEffect("every datagram passes whole, up to 65,535 bytes")),
      ] + sniffingKeys,
      carries: .streamsOrDatagrams, speaks: [.raw], abilities: [.forwards])
  }

  private static func later(
    _ names: [String], _ summary: String, _ speaks: [WireProtocol], _ authentication: Authentication = .ignored
  ) -> PartDescriptor {
    PartDescriptor(.handler, names, .notYet, summary, speaks: speaks, authentication: authentication)
  }
}
