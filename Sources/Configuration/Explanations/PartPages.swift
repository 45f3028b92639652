/// Pages about parts and security (CV03xx, CV07xx).
extension Explanations {
  static let partPages: [Explanation] = [
    Explanation(
      .unknownPart, "an unknown type",
      [
        "No listener, handler, connector or dialer of GOST has this name, or the name belongs to another kind of part: `tls` is a listener and a dialer, not a handler."
      ],
      wrong: .init(ExampleFile.relay().replacing("type: tls", "type: tlss")), right: .init(ExampleFile.relay())),
    Explanation(
      .partNotYet, "a type that is not yet supported",
      [
        "GOST has this type and Culvert does not have it yet. A file whose only findings are of this kind makes `culvert check` end with 3.",
        "When the type is missing GOST takes `auto` for a handler, `tcp` for a listener and a dialer, and `http` for a connector. `auto` speaks SOCKS4, SOCKS5 and HTTP; it does not speak relay.",
      ],
      wrong: .init(ExampleFile.relay().replacing("type: relay", "type: tunnel")), right: .init(ExampleFile.relay())),
    Explanation(
      .handlerListenerMismatch, "a handler and a listener that do not fit",
      [
        "The handler `tun` takes the packets of an interface, which only the listener `tun` gives, and the reverse. Proxies and `relay` need streams, and the listeners `udp` and `rudp` give datagrams. The handlers `rtcp` and `rudp` are for the listeners of the same names. GOST starts such a pair and fails with each connection."
      ],
      wrong: .init(ExampleFile.server(net: nil).replacing("listener:\n    type: tun", "listener:\n    type: udp")),
      right: .init(ExampleFile.server())),
    Explanation(
      .connectorDialerMismatch, "a connector and a dialer that do not fit",
      [
        "Proxies and `relay` speak protocols for streams, and the dialer `udp` sends datagrams that may be lost or come late. `direct` and `virtual` stand for no node at all, at the connector and at the dialer."
      ],
      wrong: .init(ExampleFile.client(chain: ExampleFile.chain(dialer: "udp"))),
      right: .init(ExampleFile.client(chain: ExampleFile.chain(dialer: "tcp")))),
    Explanation(
      .connectorCannotCarry, "a connector that cannot carry a tunnel",
      [
        "A TUN tunnel sends datagrams through the last node of its chain. The connector `forward` passes bytes on as they are, and in a stream nothing tells where one packet ends and the next begins. `relay` keeps the boundaries; the node then needs the handler `relay`.",
        "UDP forwards are the same. `relay`, `socks5` and `http` carry datagrams, `socks4` does not.",
      ],
      wrong: .init(ExampleFile.client(chain: ExampleFile.chain(connector: "forward"))),
      right: .init(ExampleFile.client(chain: ExampleFile.chain()))),
    Explanation(
      .ignoredAuthentication, "credentials that nobody asks for or sends",
      [
        "The connector `forward` speaks nothing to the node, so it cannot send a user name and a password, and `socks4` sends the name alone. Port forwards have no way to ask for one. A handler that names an `auther` asks for the auther's users, and its own `auth` counts for nothing. GOST ignores all of these without a word, and lets everybody in."
      ],
      wrong: .init(
        ExampleFile.client(
          chain: ExampleFile.chain(
            addr: "vpn.example.com:8421", connector: "forward",
            connectorLines: ["auth:", "  username: ann", "  password: x"],
            dialer: "udp"))),
      right: .init(
        ExampleFile.client(chain: ExampleFile.chain(addr: "vpn.example.com:8421", connector: "forward", dialer: "udp")))
    ),
    Explanation(
      .severalTargetsNotYet, "a TUN client with several targets",
      [
        "GOST chooses one of a TUN client's targets when the interface comes up, and stays with it. Culvert does not do that yet, and does not quietly take the first. A port forward may have several targets."
      ],
      wrong: .init(ExampleFile.client() + "\n    - addr: other.example.com:8421"), right: .init(ExampleFile.client())),
    Explanation(
      .chainOrder, "a hop in the wrong place",
      [
        "The dialers `icmp` and `icmp6` send from this host's own raw socket. As a second hop they would leave out the hops before them, and the node would see this host's address. `direct` goes straight from this host as well, and `udp` has nothing to stand on behind another hop, which opens streams.",
        "`quic` behind another hop is not yet supported.",
      ],
      wrong: .init(
        ExampleFile.client(
          chain: ExampleFile.chain()
            + ExampleFile.chain(addr: "\"[2001:db8::1]:0\"", dialer: "icmp6").dropFirst(3))),
      right: .init(
        ExampleFile.client(chain: ExampleFile.chain(addr: "\"[2001:db8::1]:0\"", dialer: "icmp6")))),
    Explanation(
      .targetWithoutPortNotYet, "a target without a port",
      [
        "A TUN client whose target has no port speaks GOST's router protocol instead of the TUN protocol. Culvert does not have it yet."
      ],
      wrong: .init(ExampleFile.client(target: "host-1")), right: .init(ExampleFile.client())),
    Explanation(
      .autherWithoutUsers, "an auther without users",
      ["The auther has no `auths`, so it protects nothing or locks everybody out. Give it users."],
      wrong: .init(ExampleFile.relay(handlerLines: ["auther: users"]) + "\nauthers:\n- name: users"),
      right: .init(
        ExampleFile.relay(handlerLines: ["auther: users"])
          + "\nauthers:\n- name: users\n  auths:\n  - username: ann\n    password: x")),
    Explanation(
      .emptyUserName, "credentials without a user name",
      [
        "GOST turns authentication off when the user name of `auth` is empty: the password alone protects nothing. When both are empty this is a warning only."
      ],
      wrong: .init(ExampleFile.relay(handlerLines: ["auth:", "  password: x"])),
      right: .init(ExampleFile.relay(handlerLines: ["auth:", "  username: ann", "  password: x"]))),
    Explanation(
      .certificateWithoutKey, "a certificate without its key, or the reverse",
      [
        "`certFile` and `keyFile` go together. With one of them GOST takes a certificate that it makes itself, and clients that verify are turned away."
      ],
      wrong: .init(ExampleFile.relay(listenerLines: ["tls:", "  certFile: cert.pem"])),
      right: .init(ExampleFile.relay(listenerLines: ["tls:", "  certFile: cert.pem", "  keyFile: key.pem"]))),
    Explanation(
      .serverCAWithoutCertificate, "clients are not verified",
      [
        "`caFile` on a listener asks clients for a certificate. GOST does so only when `certFile` and `keyFile` are given as well; alone it is ignored, and everybody may connect."
      ],
      wrong: .init(ExampleFile.relay(listenerLines: ["tls:", "  caFile: clients.pem"])),
      right: .init(
        ExampleFile.relay(listenerLines: [
          "tls:", "  certFile: cert.pem", "  keyFile: key.pem", "  caFile: clients.pem",
        ]))),
    Explanation(
      .tlsVersions, "a TLS version that does not exist",
      [
        "Versions are written `VersionTLS10` to `VersionTLS13`. GOST ignores another word, and with it the limit. `minVersion` may not be newer than `maxVersion`. Culvert speaks TLS 1.2 and 1.3; QUIC, also inside ICMP, needs 1.3."
      ],
      wrong: .init(ExampleFile.relay(listenerLines: ["tls:", "  options:", "    minVersion: TLS1.3"])),
      right: .init(ExampleFile.relay(listenerLines: ["tls:", "  options:", "    minVersion: VersionTLS13"]))),
    Explanation(
      .passphraseUserName, "a user name that no TUN client can have",
      [
        "A TUN server takes the client's inner address as user name and its passphrase as password. A user with another name can never come in."
      ],
      wrong: .init(ExampleFile.server(handlerLines: ["auth:", "  username: ann", "  password: x"])),
      right: .init(ExampleFile.server(handlerLines: ["auth:", "  username: 10.0.0.2", "  password: x"]))),
    Explanation(
      .tlsWithoutEffect, "a `tls` block on a part without TLS",
      [
        "The listener or dialer sends in the clear, whatever certificate is written beside it. Take the type `tls`, at both ends, or remove the block."
      ],
      wrong: .init(
        ExampleFile.relay(listenerType: "tcp", listenerLines: ["tls:", "  certFile: cert.pem", "  keyFile: key.pem"])),
      right: .init(ExampleFile.relay(listenerLines: ["tls:", "  certFile: cert.pem", "  keyFile: key.pem"]))),
  ]
}
