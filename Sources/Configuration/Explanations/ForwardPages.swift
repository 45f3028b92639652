/// Pages about forwards, remote ports and open proxies (of CV03xx, CV06xx and CV07xx).
extension Explanations {
  private static func proxy(
    addr: String = "127.0.0.1:1080", handler: String = "socks5", handlerLines: [String] = [], metadata: [String] = []
  ) -> String {
    ExampleFile.service(
      name: "proxy", addr: addr, handlerType: handler, handlerLines: handlerLines, handlerMetadata: metadata,
      listenerType: "tcp")
  }

  private static func forward(handler: String = "tcp", listener: String = "tcp", target: String? = "192.0.2.1:80")
    -> String
  {
    ExampleFile.service(name: "web", addr: ":8080", handlerType: handler, listenerType: listener)
      + (target.map { "\n  forwarder:\n    nodes:\n    - addr: \($0)" } ?? "")
  }

  private static func remote(
    handler: [String] = [], listener: [String] = ["chain: out"], chain: [String] = ExampleFile.chain()
  ) -> String {
    ([
      ExampleFile.service(
        name: "remote", addr: ":2222", handlerType: "rtcp", handlerLines: handler, listenerType: "rtcp",
        listenerLines: listener), "  forwarder:", "    nodes:", "    - addr: 127.0.0.1:22",
    ] + chain).joined(separator: "\n")
  }

  private static func datagrams(_ chain: [String]) -> String {
    ([
      ExampleFile.service(
        name: "dns", addr: "127.0.0.1:53", handlerType: "udp", handlerLines: ["chain: out"], listenerType: "udp"),
      "  forwarder:", "    nodes:", "    - addr: 192.0.2.53:53",
    ] + chain).joined(separator: "\n")
  }

  private static func through(_ chain: [String]) -> String {
    ([
      ExampleFile.service(
        name: "web", addr: ":8080", handlerType: "tcp", handlerLines: ["chain: out"], listenerType: "tcp"),
      "  forwarder:", "    nodes:", "    - addr: 192.0.2.1:80",
    ] + chain).joined(separator: "\n")
  }

  static let forwardPages: [Explanation] = [
    Explanation(
      .missingForwarder, "a port forward without a target",
      [
        "The handlers `tcp`, `udp`, `forward`, `rtcp` and `rudp` send to the targets of the service's `forwarder`. Without one GOST accepts connections and closes each of them.",
        "A forward needs no target where the last node of its chain has one: behind the connector `forward`, which passes bytes on as they are, and behind a relay with a `forwarder` of its own. Whether the relay has one is not known here, so that is a warning; `--with` the relay's file tells.",
      ],
      wrong: .init(forward(target: nil)), right: .init(forward())),
    Explanation(
      .forwarderIgnored, "a forwarder that is never used",
      [
        "The clients of a proxy say where they want to go, so its service has no use for a `forwarder`. GOST ignores it without a word. A port forward has the handler `tcp`, `udp` or `forward`; a `relay` may have targets as well, and then sends every client there."
      ],
      wrong: .init(proxy() + "\n  forwarder:\n    nodes:\n    - addr: 192.0.2.1:80"), right: .init(forward())),
    Explanation(
      .remoteWithoutChain, "a remote listener without a chain",
      [
        "The listeners `rtcp` and `rudp` open a port at the last node of `listener.chain`. Without a chain there is no such node, and GOST and Culvert listen on this host, as `tcp` and `udp` would."
      ],
      wrong: .init(remote(listener: [], chain: [])), right: .init(remote())),
    Explanation(
      .chainOnWrongSide, "the chain of a remote listener at the handler",
      [
        "A remote port forward needs its chain at the listener, which opens a port at the chain's last node. A chain at the handler is for reaching the targets. With that one alone GOST listens on this host and sends what comes through the chain: the other way round.",
        "With a chain at the listener there may be one at the handler as well.",
      ],
      wrong: .init(remote(handler: ["chain: out"], listener: [])), right: .init(remote())),
    Explanation(
      .connectorCannotBind, "a node that cannot open a port",
      [
        "The listeners `rtcp` and `rudp` ask the last node of their chain for a port. The connectors `relay` and `socks5` can ask for one, if the node's handler has `bind: true`; `http`, `socks4` and `forward` cannot."
      ],
      wrong: .init(remote(chain: ExampleFile.chain(connector: "http"))), right: .init(remote())),
    Explanation(
      .peerMux, "two versions of one session",
      [
        "The transports `mws`, `mwss`, `mtls` and `mtcp`, and the ports that a relay or SOCKS5 proxy opens for `rtcp`, put many streams into one session of smux. It has two versions, and both ends must have the same: nothing is negotiated, and a session of the other version ends with its first frame. Without `mux.version` it is 2 for `mtcp` and 1 for the others."
      ],
      wrong: .init(
        through(ExampleFile.chain(dialer: "mws", dialerLines: ["metadata:", "  mux.version: 2"])),
        with: ExampleFile.relay(listenerType: "mws")),
      right: .init(through(ExampleFile.chain(dialer: "mws")), with: ExampleFile.relay(listenerType: "mws"))),
    Explanation(
      .peerPath, "two paths of one WebSocket",
      [
        "A WebSocket is opened by an HTTP request for a path. The server answers only its own, which is `/ws` where `path` is not written. A server in between, such as nginx, may rewrite paths, and the check cannot know."
      ],
      wrong: .init(
        through(ExampleFile.chain(dialer: "wss", dialerLines: ["metadata:", "  path: /chat"])),
        with: ExampleFile.relay(listenerType: "wss")),
      right: .init(through(ExampleFile.chain(dialer: "wss")), with: ExampleFile.relay(listenerType: "wss"))),
    Explanation(
      .peerDoesNotBind, "the other end opens no ports",
      [
        "A remote port forward asks the last node of its chain to listen for it. A relay or SOCKS5 proxy does so only with `bind: true` in its handler's metadata. GOST's client tries again for ever, and the reason stands in its log alone (its issues #221, #25, #681)."
      ],
      wrong: .init(remote(), with: ExampleFile.relay()),
      right: .init(remote(), with: ExampleFile.relay(handler: ["bind: true"]))),
    Explanation(
      .peerServesNoUDP, "the other end serves no UDP",
      [
        "A UDP forward, or a tunnel, goes through a SOCKS5 or HTTP proxy only when the proxy's handler has `udp: true` in its metadata. GOST says so in the server's log alone (its issue #478). A relay needs no such key."
      ],
      wrong: .init(
        datagrams(ExampleFile.chain(connector: "socks5")),
        with: proxy(addr: ":8443", handlerLines: ["auth:", "  username: ann", "  password: x"]).replacing(
          "type: tcp", "type: tls")),
      right: .init(datagrams(ExampleFile.chain()), with: ExampleFile.relay())),
    Explanation(
      .peerHasNoTarget, "no target at either end",
      [
        "A forward without a `forwarder` leaves its target to the relay at the end of its chain. The relay then needs a `forwarder` of its own; this one has none, and refuses each connection because nobody says where to."
      ],
      wrong: .init(
        through(ExampleFile.chain()).replacing("  forwarder:\n    nodes:\n    - addr: 192.0.2.1:80\n", ""),
        with: ExampleFile.relay()),
      right: .init(through(ExampleFile.chain()), with: ExampleFile.relay())),
    Explanation(
      .peerHasOwnTarget, "a relay that goes to its own target",
      [
        "The relay at the other end has a `forwarder`: it sends every connection there and looks at no request (GOST's issue #217). The client's service asks for something else, or lets its own clients ask, and would get the relay's target each time."
      ],
      wrong: .init(
        through(ExampleFile.chain()),
        with: ExampleFile.relay() + "\n  forwarder:\n    nodes:\n    - addr: 127.0.0.1:22"),
      right: .init(
        through(ExampleFile.chain()),
        with: ExampleFile.relay() + "\n  forwarder:\n    nodes:\n    - addr: 127.0.0.1:80")),
    Explanation(
      .openProxy, "a proxy for everybody",
      [
        "The proxy listens on more than loopback and asks for no credentials, so that everybody who reaches its port can use this host's place in the network. Open proxies are found and abused within hours.",
        "Give the handler `auth` or an `auther`, or let it listen on `127.0.0.1`. As long as it is open, targets that only this host or its neighbours should reach are refused: loopback, link-local and multicast addresses and the metadata services of clouds. `egress.allow` in the handler's metadata makes exceptions.",
      ],
      wrong: .init(proxy(addr: ":1080")),
      right: .init(proxy(addr: ":1080", handlerLines: ["auth:", "  username: ann", "  password: x"]))),
    Explanation(
      .egressOpen, "everything is allowed to everybody",
      [
        "`egress.allow: all` takes away the limit that an open proxy has: its clients reach this host's own services on loopback and the cloud's metadata service, which hands out keys. Allow the networks that are meant, with their ports."
      ],
      wrong: .init(proxy(addr: ":1080", metadata: ["egress.allow: all"])),
      right: .init(proxy(addr: ":1080", metadata: ["egress.allow: [\"127.0.0.1:8080\"]"]))),
    Explanation(
      .passwordNeverSent, "a password that is never sent",
      [
        "SOCKS4 clients send a user name and no password. A handler `socks4` whose users all have passwords lets nobody in. Remove the passwords, which makes the names the secret, or take `socks5`."
      ],
      wrong: .init(
        proxy(addr: ":1080", handler: "socks4", handlerLines: ["auth:", "  username: ann", "  password: x"])),
      right: .init(proxy(addr: ":1080", handler: "socks4", handlerLines: ["auth:", "  username: ann"]))),
  ]
}
