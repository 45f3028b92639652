import Glibc
import LinuxNet
import Testing
import Values

@Suite("The exception route to a node", .enabled(if: NetSupport.hasTun, NetSupport.tunReason))
struct NetNodeExceptionTests {
  /// A host with one cable and a default route, and a node far behind it.
  struct Host {
    let netlink: NetlinkSocket
    let up: Link
    let node: IPAddress
    let gateways: [IPAddress]
    let inner: IPPrefix

    init(_ family: AddressFamily) throws {
      netlink = try NetlinkSocket()
      try netlink.createVethPair("up", peer: "far")
      up = try #require(try netlink.link(named: "up"))
      try netlink.setUp(up)
      try netlink.setUp(try #require(try netlink.link(named: "far")))
      let texts =
        family == .ipv4
        ? ["192.0.2.2/24", "192.0.2.1", "192.0.2.254", "203.0.113.9", "10.90.57.1/24"]
        : ["2001:db8:1::2/64", "2001:db8:1::1", "2001:db8:1::fe", "2001:db8:ffff::9", "fd00:57::1/64"]
      try netlink.addAddress(try #require(IPPrefix(texts[0])), to: up)
      gateways = try texts[1...2].map { try #require(IPAddress($0)) }
      node = try #require(IPAddress(texts[3]))
      inner = try #require(IPPrefix(texts[4]))
      try netlink.addRoute(defaultRoute(gateways[0]))
    }

    func defaultRoute(_ gateway: IPAddress) -> Route {
      Route(to: Route.defaultPrefix(node.family), gateway: gateway, device: up.index)
    }

    var ours: [Route] {
      get throws { try netlink.routes(node.family).filter { $0.origin == Route.culvertOrigin } }
    }
  }

  @Test(
    "A full tunnel swallows everything but the packets to its node, and all is as before after the end",
    arguments: [AddressFamily.ipv4, .ipv6])
  func fullTunnel(family: AddressFamily) throws {
    try NetworkNamespace.make().run {
      let host = try Host(family)
      let device = try TunDevice(addresses: [host.inner])
      let everything = Route.defaultPrefix(family)
      #expect(NodeException.isNeeded(for: host.node, routes: [everything]))
      #expect(!NodeException.isNeeded(for: host.node, routes: [host.inner]))
      let exception = NodeException(node: host.node, tunnel: device.index, netlink: host.netlink)
      guard case .moved = try exception.install() else {
        Issue.record("nothing was installed")
        return
      }
      try device.addRoute(to: everything)
      #expect(try !NodeException.wouldLoop(to: host.node, via: device.index, netlink: host.netlink))
      #expect(try host.netlink.route(to: host.node)?.gateway == host.gateways[0])
      let other: IPAddress = family == .ipv4 ? .v4(0xC633_6401) : .v6(0x2001_0db8_0009 << 80 | 1)
      #expect(try NodeException.wouldLoop(to: other, via: device.index, netlink: host.netlink))
      #expect(try exception.refresh() == .unchanged)
      exception.remove()
      #expect(try host.ours.isEmpty)
      #expect(try NodeException.wouldLoop(to: host.node, via: device.index, netlink: host.netlink))
      device.close()
      #expect(try host.netlink.route(to: host.node)?.gateway == host.gateways[0])
    }
  }

  @Test("The exception follows a new gateway, and the monitor says when", arguments: [AddressFamily.ipv4, .ipv6])
  func follows(family: AddressFamily) throws {
    try NetworkNamespace.make().run {
      let host = try Host(family)
      let device = try TunDevice(addresses: [host.inner])
      let exception = NodeException(node: host.node, tunnel: device.index, netlink: host.netlink)
      try exception.install()
      try device.addRoute(to: Route.defaultPrefix(family))
      let monitor = try NetlinkMonitor()
      try host.netlink.deleteRoute(host.defaultRoute(host.gateways[0]))
      try host.netlink.addRoute(host.defaultRoute(host.gateways[1]))
      #expect(monitor.changes().contains { if case .route = $0 { true } else { false } })
      guard case .moved(let way) = try exception.refresh() else {
        Issue.record("the exception did not move")
        return
      }
      #expect(way.gateway == host.gateways[1])
      #expect(try host.netlink.route(to: host.node)?.gateway == host.gateways[1])
      #expect(try exception.refresh() == .unchanged)
    }
  }

  @Test(
    "While the network is away, packets to the node fail instead of looping, and afterwards they flow again",
    arguments: [AddressFamily.ipv4, .ipv6])
  func networkAway(family: AddressFamily) throws {
    try NetworkNamespace.make().run {
      let host = try Host(family)
      let device = try TunDevice(addresses: [host.inner])
      let exception = NodeException(node: host.node, tunnel: device.index, netlink: host.netlink)
      try exception.install()
      try device.addRoute(to: Route.defaultPrefix(family))
      try host.netlink.setUp(host.up, false)
      // Before the daemon has heard of it: no loop even now.
      #expect(try host.netlink.route(to: host.node) == nil)
      #expect(try exception.refresh() == .lost)
      #expect(try exception.refresh() == .unchanged)
      try host.netlink.setUp(host.up)
      if family == .ipv6 {
        // The kernel forgets IPv6 addresses of an interface that is set down.
        try? host.netlink.addAddress(try #require(IPPrefix("2001:db8:1::2/64")), to: host.up)
      }
      try? host.netlink.addRoute(host.defaultRoute(host.gateways[0]))
      guard case .moved = try exception.refresh() else {
        Issue.record("the exception did not come back")
        return
      }
      #expect(try host.netlink.route(to: host.node)?.gateway == host.gateways[0])
    }
  }

  @Test("A host route that somebody else made is left alone, and what a killed process left is taken over")
  func others() throws {
    try NetworkNamespace.make().run {
      let host = try Host(.ipv4)
      let device = try TunDevice(addresses: [host.inner])
      let theirs = Route(to: .host(host.node), gateway: host.gateways[1], device: host.up.index)
      try host.netlink.addRoute(theirs)
      let first = NodeException(node: host.node, tunnel: device.index, netlink: host.netlink)
      try first.install()
      #expect(try host.netlink.route(to: host.node)?.gateway == host.gateways[1])
      first.remove()
      #expect(try host.netlink.route(to: host.node)?.gateway == host.gateways[1])
      try host.netlink.deleteRoute(theirs)

      try host.netlink.addRoute(
        Route(to: .host(host.node), gateway: host.gateways[1], device: host.up.index, origin: Route.culvertOrigin))
      let second = NodeException(node: host.node, tunnel: device.index, netlink: host.netlink)
      try second.install()
      #expect(try host.netlink.route(to: host.node)?.gateway == host.gateways[0])
      second.remove()
      #expect(try host.ours.isEmpty)
    }
  }

  @Test("Changes outside the interface are undone once, last first, and what is not ours stays")
  func changes() throws {
    try NetworkNamespace.make().run {
      let host = try Host(.ipv4)
      let changes = SystemChanges(netlink: host.netlink)
      var order: [String] = []
      changes.record("first") { order.append("first") }
      changes.record("second") { order.append("second") }
      try changes.add(host.defaultRoute(host.gateways[0]))
      let prefix = try #require(IPPrefix("198.51.100.0/24"))
      try changes.add(Route(to: prefix, gateway: host.gateways[0], device: host.up.index))
      try changes.add(RoutingRule(family: .ipv4, mark: 9, table: 99))
      #expect(NetSupport.output("ip rule").contains("fwmark 0x9 lookup 99"))
      changes.record("broken") { throw NetlinkError(attempt: "undo", code: EIO) }
      #expect(changes.restore() == ["broken: cannot undo: input/output error (EIO)"])
      #expect(order == ["second", "first"])
      #expect(changes.restore().isEmpty)
      #expect(order.count == 2)
      #expect(!NetSupport.output("ip rule").contains("fwmark"))
      #expect(try host.netlink.routes(.ipv4).contains { $0.destination.length == 0 })
      #expect(try !host.netlink.routes(.ipv4).contains { $0.destination == prefix })
    }
  }
}
