/// Pages about two ends (CV06xx), found by `culvert check FILE --with PEERFILE`.
extension Explanations {
  private static let server = ExampleFile.server() + "\n" + ExampleFile.relay().replacing("services:\n", "")

  private static func client(_ chain: [String], net: String = "10.0.0.2/24", target: String = "10.0.0.1:8421") -> String
  {
    ExampleFile.client(net: net, target: target, chain: chain)
  }

  static let pairPages: [Explanation] = [
    Explanation(
      .peerDoesNotSpeak, "the other end does not speak the client's protocol",
      [
        "The client's connector and the server's handler have to speak one protocol. `auto` speaks SOCKS4, SOCKS5 and HTTP and not relay, and GOST never says so: the server logs a parse error at best, the client an empty message once a second for ever (GOST's issue #562).",
        "Write the handler that the client needs; for the connector `relay` that is the handler `relay`.",
      ],
      wrong: .init(client(ExampleFile.chain()), with: server.replacing("type: relay", "type: auto")),
      right: .init(client(ExampleFile.chain()), with: server)),
    Explanation(
      .peerHasNoListener, "nobody at the other end listens",
      [
        "A dialer reaches a listener of the same type: `icmp6` reaches `icmp6`, `tls` reaches `tls`. The other end's file has none of the client's type."
      ],
      wrong: .init(client(ExampleFile.chain(dialer: "quic")), with: server),
      right: .init(client(ExampleFile.chain()), with: server)),
    Explanation(
      .peerListensElsewhere, "another port at the other end",
      [
        "The other end listens with the right type and at another port. If a router between the two translates ports this is as it should be, and the check cannot know."
      ],
      wrong: .init(client(ExampleFile.chain(addr: "relay.example.com:443")), with: server),
      right: .init(client(ExampleFile.chain()), with: server)),
    Explanation(
      .peerAuthentication, "the other end asks for other credentials",
      [
        "The node asks for a user name and a password. The client sends none, or a user that the node does not know, or another password."
      ],
      wrong: .init(
        client(ExampleFile.chain()),
        with: ExampleFile.relay(handlerLines: ["auth:", "  username: ann", "  password: x"])),
      right: .init(
        client(ExampleFile.chain(connectorLines: ["auth:", "  username: ann", "  password: x"])),
        with: ExampleFile.relay(handlerLines: ["auth:", "  username: ann", "  password: x"]))),
    Explanation(
      .sameInnerAddress, "one inner address at two ends",
      [
        "Both ends of a tunnel, or two clients of one server, have the same inner address. A server ignores a client that announces the server's own address, and says nothing."
      ],
      wrong: .init(client(ExampleFile.chain(), net: "10.0.0.1/24", target: "127.0.0.1:8421"), with: server),
      right: .init(client(ExampleFile.chain()), with: server)),
    Explanation(
      .outsidePeerNetwork, "a client outside the server's network",
      [
        "The client's inner address is in none of the networks of the server's interface. The server can send packets to it only when a route is written for that network. Or the other way round: the client's network is so small that the server's address is not in it, and no route leads there."
      ],
      wrong: .init(client(ExampleFile.chain(), net: "10.7.0.2/24"), with: server),
      right: .init(client(ExampleFile.chain()), with: server)),
    Explanation(
      .peerPassphrase, "the passphrase is not the server's",
      [
        "The server has users: inner addresses as names, passphrases as passwords. It does not answer a client whose address it does not know or whose passphrase differs, and GOST logs that at debug level only."
      ],
      wrong: .init(
        ExampleFile.client(handler: ["passphrase: one"]),
        with: ExampleFile.server(handlerLines: ["auth:", "  username: 10.0.0.2", "  password: two"])),
      right: .init(
        ExampleFile.client(handler: ["passphrase: two"]),
        with: ExampleFile.server(handlerLines: ["auth:", "  username: 10.0.0.2", "  password: two"]))),
    Explanation(
      .targetNotServed, "no TUN server at the target",
      ["The chain leads to the other end, and no TUN service there has the port of the forwarder's target."],
      wrong: .init(client(ExampleFile.chain(), target: "10.0.0.1:8422"), with: server),
      right: .init(client(ExampleFile.chain()), with: server)),
    Explanation(
      .peerTLS, "two ends whose TLS does not agree",
      [
        "The server asks its clients for a certificate (its `tls` has a `caFile` beside `certFile` and `keyFile`), and the client has none; or the TLS versions that the two allow have none in common; or, over QUIC, the protocols in `alpn`. The handshake fails each time, and each end logs an alert of the other."
      ],
      wrong: .init(
        client(ExampleFile.chain()),
        with: server.replacing(
          "type: tls", "type: tls\n    tls:\n      certFile: s.pem\n      keyFile: s.key\n      caFile: clients.pem")),
      right: .init(
        client(ExampleFile.chain(dialerLines: ["tls:", "  certFile: c.pem", "  keyFile: c.key"])),
        with: server.replacing(
          "type: tls", "type: tls\n    tls:\n      certFile: s.pem\n      keyFile: s.key\n      caFile: clients.pem"))),
    Explanation(
      .peerProxyHeader, "a PROXY header that nobody expects",
      [
        "With `proxyProtocol` a node is sent a line that says where the connection comes from, before everything else. The service at the other end has to expect it (`proxyProtocol` in its own `metadata`); one that does not takes it for the beginning of its own protocol, and every connection fails."
      ],
      wrong: .init(
        client(
          ExampleFile.chain().map { $0 == "      connector:" ? "      metadata:\n        proxyProtocol: 1\n" + $0 : $0 }
        ),
        with: server),
      right: .init(client(ExampleFile.chain()), with: server)),
    Explanation(
      .nodelayOnOneSide, "`nodelay` on at one side only",
      [
        "With `nodelay` GOST's client waits for an answer that GOST's server, without `nodelay`, sends only with the first data: both wait for ever. The other way round GOST's client keeps its request until it has something to send, so that a server which speaks first, such as SSH, never begins. Culvert asks and answers at once and never waits; the warning is for the day when one end is GOST."
      ],
      wrong: .init(client(ExampleFile.chain(connectorLines: ["metadata:", "  nodelay: true"])), with: server),
      right: .init(
        client(ExampleFile.chain(connectorLines: ["metadata:", "  nodelay: true"])),
        with: server.replacing("type: relay", "type: relay\n    metadata:\n      nodelay: true"))),
  ]
}
