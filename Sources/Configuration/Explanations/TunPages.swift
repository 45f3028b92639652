/// Pages about TUN interfaces (CV05xx).
extension Explanations {
  static let tunPages: [Explanation] = [
    Explanation(
      .tunWithoutNet, "an interface without an address",
      [
        "`net` gives the interface its addresses. A client announces them to the server; without one it cannot be answered. A server can be given addresses by `postUp` commands, so there it is a warning."
      ],
      wrong: .init(ExampleFile.client(net: nil)), right: .init(ExampleFile.client())),
    Explanation(
      .networkAddress, "not an address of a host",
      [
        "The address is the network itself (`10.0.0.0/24`), its broadcast address, or one that no interface can have. `net` wants the address of this end inside the network. A route with bits behind its prefix length routes the whole network."
      ],
      wrong: .init(ExampleFile.server(net: "10.0.0.0/24")), right: .init(ExampleFile.server(net: "10.0.0.1/24"))),
    Explanation(
      .overlappingNetworks, "networks that overlap",
      [
        "Two interfaces have one address (an error), or their networks or routes overlap (a warning): the kernel sends all packets for the shared part into one of the two."
      ],
      wrong: .init(
        ExampleFile.server() + "\n"
          + ExampleFile.server(name: "vpn2", addr: ":8422", net: "10.0.0.9/16").replacing("services:\n", "")),
      right: .init(
        ExampleFile.server() + "\n"
          + ExampleFile.server(name: "vpn2", addr: ":8422", net: "10.1.0.1/16").replacing("services:\n", ""))),
    Explanation(
      .mtuTooSmallForIPv6, "an MTU too small for IPv6",
      [
        "IPv6 needs an MTU of at least 1280 bytes (RFC 8200, section 5). The kernel takes IPv6 away from an interface with less."
      ],
      wrong: .init(ExampleFile.server(net: "fd00::1/64", listener: ["mtu: 1200"])),
      right: .init(ExampleFile.server(net: "fd00::1/64", listener: ["mtu: 1280"]))),
    Explanation(
      .gatewayOutsideNet, "a gateway that cannot be reached",
      [
        "A gateway is the address of another host in a network of the interface, for a tunnel that of the other end. The kernel refuses a route by any other."
      ],
      wrong: .init(ExampleFile.server(listener: ["route: 192.168.0.0/16", "gw: 10.9.0.2"])),
      right: .init(ExampleFile.server(listener: ["route: 192.168.0.0/16", "gw: 10.0.0.2"]))),
    Explanation(
      .routeFamily, "a route of another family",
      [
        "A route and its gateway are of one family (an error otherwise). A route into an interface without an address of its family sends packets with another interface's address, which the far end may drop (a warning)."
      ],
      wrong: .init(ExampleFile.server(listener: ["route: 2001:db8::/32", "gw: 10.0.0.2"])),
      right: .init(
        ExampleFile.server(net: "10.0.0.1/24,fd00::1/64", listener: ["route: 2001:db8::/32", "gw: fd00::2"]))),
    Explanation(
      .forwarderIsSelf, "a service that sends to itself",
      [
        "The target of a TUN client is its own inner address, and should be the TUN server's. Or the target of a port forward is the address on which it listens: each connection would open another one, without end."
      ],
      wrong: .init(ExampleFile.client(target: "10.0.0.2:8421")), right: .init(ExampleFile.client())),
    Explanation(
      .forwarderInsideTunnel, "a target inside the tunnel that leads to it",
      [
        "The address lies in the tunnel's own network, so the kernel would send the tunnel's packets into the tunnel. Without a chain the server has to be named by an address outside. Behind a chain its inner address is right, and the chain's first node is what has to be outside."
      ],
      wrong: .init(ExampleFile.client(target: "10.0.0.1:8421")),
      right: .init(ExampleFile.client(target: "10.0.0.1:8421", chain: ExampleFile.chain()))),
    Explanation(
      .passphraseTooLong, "a passphrase of more than 16 bytes",
      [
        "The TUN handshake has room for 16 bytes. GOST cuts a longer passphrase off without a word, and the server then compares a part with the whole. For a client it is a warning, because without an auther nobody compares it; for a server's user it is an error, because no client can ever send that password."
      ],
      wrong: .init(ExampleFile.client(handler: ["passphrase: correct horse battery staple"])),
      right: .init(ExampleFile.client(handler: ["passphrase: correct horse"]))),
    Explanation(
      .interfaceName, "a name that no interface can have",
      ["Linux takes interface names of up to 15 bytes, without `/`, `:` and spaces."],
      wrong: .init(ExampleFile.server(listener: ["name: my-very-long-tunnel"])),
      right: .init(ExampleFile.server(listener: ["name: my-tunnel"]))),
    Explanation(
      .chainWithoutForwarder, "a chain and no target",
      [
        "A TUN service with a `forwarder` is a client, one without is a server. A server dials nothing, so its chain would never be used: the forwarder is what is missing."
      ],
      wrong: .init(ExampleFile.client(target: nil, chain: ExampleFile.chain()).replacing("addr: :0", "addr: :8421")),
      right: .init(ExampleFile.client(chain: ExampleFile.chain()))),
    Explanation(
      .clientOnlyKey, "a key for clients on a server",
      [
        "`passphrase` is what a client sends. A server compares it through an auther, whose users are the clients' inner addresses; without one every client may take any address."
      ],
      wrong: .init(ExampleFile.server(handler: ["passphrase: secret"])),
      right: .init(ExampleFile.server(handlerLines: ["auth:", "  username: 10.0.0.2", "  password: secret"]))),
    Explanation(
      .ttlWithoutKeepalive, "a `ttl` without `keepAlive`",
      [
        "`ttl` is the time between two announcements of a client, and GOST's client repeats its announcement only with `keepAlive: true`. Without it a restarted server has forgotten the client for good."
      ],
      wrong: .init(ExampleFile.client(handler: ["ttl: 10s"])),
      right: .init(ExampleFile.client(handler: ["keepAlive: true", "ttl: 10s"]))),
    Explanation(
      .interfaceIntoTunnel, "a tunnel that leaves through itself",
      [
        "`interface` names the interface by which the tunnel's own packets leave this host. It is the tunnel's interface here, or that of a second tunnel that leaves through the first.",
        "With `so_mark` it is a warning: a mark does nothing by itself, and a route of this tunnel covers the node. The host needs a routing rule for the mark that leads past the tunnel (`ip rule add fwmark …`). Without a mark Culvert keeps the node outside by a route of its own; with one it leaves that to the rules.",
      ],
      wrong: .init(
        ExampleFile.client(listener: ["name: vpn0"]).replacing(
          "  forwarder:", "  metadata:\n    interface: vpn0\n  forwarder:")),
      right: .init(
        ExampleFile.client(listener: ["name: vpn0"]).replacing(
          "  forwarder:", "  metadata:\n    interface: eth0\n  forwarder:"))),
    Explanation(
      .routeIntoTunnel, "a route that covers the tunnel's own node",
      [
        "A route sends packets into the tunnel, and the address that the tunnel itself is sent to lies in it: a route to everything always covers it. With GOST the tunnel's own packets go into the tunnel, until somebody adds a route to the node by hand (issue #906 of ginuerzh/gost).",
        "Culvert adds that route itself, follows it when the network changes, and takes it away in the end; so this is a note. It is an error where the route is to the node alone: no other route is more exact.",
      ],
      wrong: .init(
        ExampleFile.client(
          target: "203.0.113.7:8421", listener: ["route: 203.0.113.7/32"], handler: ["keepAlive: true"])),
      right: .init(
        ExampleFile.client(
          target: "203.0.113.7:8421", listener: ["route: 198.51.100.0/24"], handler: ["keepAlive: true"]))),
    Explanation(
      .mtuTooLarge, "packets that are too large for one datagram",
      [
        "Over UDP each packet of the interface is one datagram. With its headers it has to fit in the 1500 bytes that every Ethernet carries, or the kernel cuts it in pieces: if one is lost all are, and many firewalls drop every piece. Through a chain that gives a stream (`relay` over `tls`, say) packets may have any size.",
        "More than 65,507 bytes fit in no datagram at all, which is an error.",
      ],
      wrong: .init(
        ExampleFile.client(target: "203.0.113.7:8421", listener: ["mtu: 1500"], handler: ["keepAlive: true"])),
      right: .init(
        ExampleFile.client(target: "203.0.113.7:8421", listener: ["mtu: 1420"], handler: ["keepAlive: true"]))),
    Explanation(
      .keepaliveTooLate, "a keepalive that comes too late, or never",
      [
        "A TUN client over plain UDP announces itself once, and again every `ttl` only with `keepAlive: true`. Without it a server that was restarted does not know the client any more, and a NAT on the way forgets it after two minutes of silence or less (GOST's issues #177 and #330). Through a chain the client notices, because the chain breaks.",
        "For QUIC and ICMP: `ttl` is the time between two keepalive packets, and has to be shorter than the silence after which either end gives up.",
      ],
      wrong: .init(ExampleFile.client()), right: .init(ExampleFile.client(handler: ["keepAlive: true"]))),
  ]
}
