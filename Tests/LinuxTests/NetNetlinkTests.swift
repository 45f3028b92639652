import Glibc
import LinuxNet
import Testing
import Values

@Suite("Netlink in a namespace of its own", .enabled(if: NetSupport.hasNamespaces, NetSupport.reason))
struct NetNetlinkTests {
  @Test("A veth pair is made, renamed, sized, set up and removed, and ip(8) sees the same")
  func links() throws {
    try NetworkNamespace.make().run {
      let netlink = try NetlinkSocket()
      try netlink.createVethPair("left", peer: "right")
      let left = try #require(try netlink.link(named: "left"))
      #expect(left.kind == "veth")
      #expect(!left.isUp)
      try netlink.rename(left, to: "west")
      let west = try #require(try netlink.link(named: "west"))
      #expect(west.index == left.index)
      try netlink.setMTU(west, 1400)
      try netlink.setUp(west)
      let right = try #require(try netlink.link(named: "right"))
      try netlink.setUp(right)
      #expect(try netlink.link(index: west.index)?.isRunning == true)
      #expect(NetSupport.output("ip -o link show west").contains("mtu 1400"))
      #expect(try Set(netlink.links().map(\.name)).isSuperset(of: ["lo", "west", "right"]))
      try netlink.deleteLink(west)
      #expect(try netlink.link(named: "right") == nil)
    }
  }

  @Test("Both ends of a cable can be born in other namespaces")
  func vethAcross() throws {
    let first = try NetworkNamespace.make()
    let second = try NetworkNamespace.make()
    let middle = try NetworkNamespace.make()
    try middle.run {
      let netlink = try NetlinkSocket()
      try netlink.createVethPair(
        "wire", peer: "wire", namespace: .descriptor(first.descriptor), peerNamespace: .descriptor(second.descriptor))
      #expect(try netlink.link(named: "wire") == nil)
    }
    for namespace in [first, second] {
      let wire = try namespace.run { try NetlinkSocket().link(named: "wire") }
      #expect(wire?.kind == "veth")
    }
  }

  @Test("Addresses of both families are added, listed and removed")
  func addresses() throws {
    try NetworkNamespace.make().run {
      let netlink = try NetlinkSocket()
      let loopback = try #require(try netlink.link(named: "lo"))
      let ipv4 = try #require(IPPrefix("10.11.12.13/24"))
      let ipv6 = try #require(IPPrefix("2001:db8::5/64"))
      try netlink.addAddress(ipv4, to: loopback)
      try netlink.addAddress(ipv6, to: loopback)
      let listed = try netlink.addresses(of: loopback).map(\.prefix)
      #expect(listed.contains(ipv4) && listed.contains(ipv6))
      #expect(NetSupport.output("ip -o address show dev lo").contains("10.11.12.13/24 brd 10.11.12.255"))
      #expect(throws: NetlinkError.self) { try netlink.addAddress(ipv4, to: loopback) }
      try netlink.removeAddress(ipv4, from: loopback)
      try netlink.removeAddress(ipv6, from: loopback)
      #expect(try !netlink.addresses(of: loopback).map(\.prefix).contains(ipv4))
    }
  }

  @Test("An error names what was attempted and the kernel's errno")
  func errors() throws {
    try NetworkNamespace.make().run {
      let netlink = try NetlinkSocket()
      let loopback = try #require(try netlink.link(named: "lo"))
      let prefix = try #require(IPPrefix("10.0.0.1/24"))
      try netlink.addAddress(prefix, to: loopback)
      let error = try #require(throws: NetlinkError.self) { try netlink.addAddress(prefix, to: loopback) }
      #expect(error.name == "EEXIST")
      #expect(error.description.hasPrefix("cannot add 10.0.0.1/24 to lo: "))
      #expect(try netlink.link(named: "nowhere") == nil)
    }
    #expect(
      NetlinkError(attempt: "add 10.0.0.1/24 to tun0", code: EPERM).description
        == "cannot add 10.0.0.1/24 to tun0: permission denied (needs CAP_NET_ADMIN)")
  }

  @Test("Routes are added, found by the kernel's own look-up, listed and deleted")
  func routes() throws {
    try NetworkNamespace.make().run {
      let netlink = try NetlinkSocket()
      try netlink.createVethPair("up", peer: "far")
      let device = try #require(try netlink.link(named: "up"))
      try netlink.setUp(device)
      if let far = try netlink.link(named: "far") { try netlink.setUp(far) }
      for text in ["192.0.2.2/24", "2001:db8:1::2/64"] {
        try netlink.addAddress(try #require(IPPrefix(text)), to: device)
      }
      for (destination, gateway, probe) in [
        ("198.51.100.0/24", "192.0.2.1", "198.51.100.7"), ("2001:db8:2::/48", "2001:db8:1::1", "2001:db8:2::7"),
      ] {
        let target = try #require(IPAddress(probe))
        #expect(try netlink.route(to: target) == nil)
        let route = Route(
          to: try #require(IPPrefix(destination)), gateway: IPAddress(gateway), device: device.index, metric: 77)
        try netlink.addRoute(route)
        #expect(throws: NetlinkError.self) { try netlink.addRoute(route) }
        try netlink.replaceRoute(route)
        let answer = try #require(try netlink.route(to: target))
        #expect(answer.gateway == IPAddress(gateway))
        #expect(answer.device == device.index)
        #expect(answer.table == Route.mainTable)
        #expect(
          try netlink.routes(target.family, table: Route.mainTable).contains { $0.destination == route.destination })
        try netlink.deleteRoute(route)
        #expect(try netlink.route(to: target) == nil)
      }
    }
  }

  @Test("A mark leads to a table of its own, and a look-up with the mark says so")
  func marks() throws {
    try NetworkNamespace.make().run {
      let netlink = try NetlinkSocket()
      try netlink.createVethPair("a", peer: "b")
      let a = try #require(try netlink.link(named: "a"))
      let b = try #require(try netlink.link(named: "b"))
      try netlink.setUp(a)
      try netlink.setUp(b)
      try netlink.addAddress(try #require(IPPrefix("192.0.2.2/24")), to: a)
      try netlink.addAddress(try #require(IPPrefix("198.51.100.2/24")), to: b)
      let target = try #require(IPAddress("203.0.113.9"))
      try netlink.addRoute(Route(to: Route.defaultPrefix(.ipv4), gateway: IPAddress("192.0.2.1"), device: a.index))
      let marked = Route(
        to: Route.defaultPrefix(.ipv4), gateway: IPAddress("198.51.100.1"), device: b.index, table: 4242)
      try netlink.addRoute(marked)
      let rule = RoutingRule(family: .ipv4, mark: 0x67, table: 4242)
      try netlink.addRule(rule)
      #expect(try netlink.route(to: target)?.device == a.index)
      let answer = try #require(try netlink.route(to: target, mark: 0x67))
      #expect(answer.device == b.index)
      #expect(answer.table == 4242)
      try netlink.deleteRule(rule)
      #expect(try netlink.route(to: target, mark: 0x67)?.device == a.index)
    }
  }

  @Test("The monitor tells of links, addresses and routes as they come and go")
  func monitor() throws {
    try NetworkNamespace.make().run {
      let netlink = try NetlinkSocket()
      let monitor = try NetlinkMonitor()
      #expect(monitor.changes().isEmpty)
      try netlink.createVethPair("a", peer: "b")
      let a = try #require(try netlink.link(named: "a"))
      #expect(monitor.changes().contains { if case .link(let link) = $0 { link.name == "a" } else { false } })
      let prefix = try #require(IPPrefix("192.0.2.2/24"))
      try netlink.addAddress(prefix, to: a)
      #expect(monitor.changes().contains { if case .address(let it) = $0 { it.prefix == prefix } else { false } })
      try netlink.setUp(a)
      _ = monitor.changes()
      let route = Route(to: try #require(IPPrefix("198.51.100.0/24")), device: a.index)
      try netlink.addRoute(route)
      #expect(
        monitor.changes().contains {
          if case .route(let it) = $0 { it.destination == route.destination } else { false }
        })
      try netlink.deleteLink(a)
      let last = monitor.changes()
      #expect(last.contains { if case .linkGone(let link) = $0 { link.name == "a" } else { false } })
      #expect(last.contains { if case .addressGone(let it) = $0 { it.prefix == prefix } else { false } })
    }
  }
}
