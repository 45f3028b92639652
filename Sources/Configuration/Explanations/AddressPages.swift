/// Pages about addresses (CV04xx).
extension Explanations {
  static let addressPages: [Explanation] = [
    Explanation(
      .badAddress, "an address that cannot be read",
      [
        "An address is a host and a port: `example.com:8421`, `192.0.2.1:8421`, `[2001:db8::1]:8421`, or `:8421` for all addresses of this host. IPv6 addresses stand in brackets; there is no scheme."
      ],
      wrong: .init(ExampleFile.client(target: "2001:db8::1:8421")),
      right: .init(ExampleFile.client(target: "\"[2001:db8::1]:8421\""))),
    Explanation(
      .badPrefix, "a network that cannot be read",
      [
        "`net`, `route` and `routes` take addresses with a prefix length, such as `10.0.0.1/24` or `fd00::1/64`. GOST skips what it cannot read and starts with an interface that lacks the address or the route."
      ],
      wrong: .init(ExampleFile.server(net: "10.0.0.1/240")), right: .init(ExampleFile.server())),
    Explanation(
      .familyMismatch, "an address of the other family",
      [
        "`icmp` works over IPv4 and `icmp6` over IPv6 only. GOST hangs, or logs an error for each packet (its issues #124 and #542). Both ends have to change together.",
        "SOCKS4 has room for IPv4 addresses and names, so a node or a target behind the connector `socks4` cannot have an IPv6 address.",
      ],
      wrong: .init(ExampleFile.client(chain: ExampleFile.chain(addr: "192.0.2.1:0", dialer: "icmp6"))),
      right: .init(ExampleFile.client(chain: ExampleFile.chain(addr: "192.0.2.1:0", dialer: "icmp")))),
    Explanation(
      .resolvedFamilyMismatch, "a name with addresses of the other family only",
      [
        "The node's name resolves, but none of its addresses is of the family that its dialer works over: `icmp` needs an IPv4 address, `icmp6` an IPv6 address. Take the other dialer (and the other listener at the far end), or give the name an address of the right family."
      ]),
    Explanation(
      .missingPort, "a port is missing",
      [
        "A node or a target is dialled at a port, and a TUN server is reached at one. Port 0 means \"choose one\", which the other end cannot know. For a listener that is a warning: it works, on a port that changes with each start."
      ],
      wrong: .init(ExampleFile.server(addr: ":0")), right: .init(ExampleFile.server())),
    Explanation(
      .duplicateListenAddress, "two services at one address",
      [
        "Two services listen at one port of one address (a TUN server has a UDP port), or take the same echo requests. The second could not start."
      ],
      wrong: .init(
        ExampleFile.server() + "\n"
          + ExampleFile.relay(addr: ":8421", listenerType: "quic").replacing("services:\n", "")),
      right: .init(
        ExampleFile.server() + "\n"
          + ExampleFile.relay(addr: ":8422", listenerType: "quic").replacing("services:\n", ""))),
    Explanation(
      .portWithoutMeaning, "a port where there are none",
      [
        "ICMP has no ports. A listener `icmp` or `icmp6` answers whatever identifier a client chooses; the number has no effect."
      ],
      wrong: .init(ExampleFile.relay(addr: ":8443", listenerType: "icmp")),
      right: .init(ExampleFile.relay(addr: ":0", listenerType: "icmp"))),
  ]
}
