import Glibc
import LinuxNet
import Testing
import Values

@Suite("TUN devices", .enabled(if: NetSupport.hasTun, NetSupport.tunReason))
struct TunDeviceTests {
  @Test("A device has its name, mtu and addresses, is up, and is gone with all of them after close")
  func life() throws {
    try NetworkNamespace.make().run {
      let netlink = try NetlinkSocket()
      let addresses = [try #require(IPPrefix("10.90.57.1/24")), try #require(IPPrefix("fd00:57::1/64"))]
      let device = try TunDevice(name: "culvert-test", mtu: 1420, addresses: addresses)
      let link = try #require(try netlink.link(named: "culvert-test"))
      #expect(link.index == device.index)
      #expect(link.isUp && link.mtu == 1420 && link.kind == "tun")
      #expect(Set(try netlink.addresses(of: link).map(\.prefix)) == Set(addresses))
      #expect(device.headerLength == 10)
      #expect(device.offloads.isSuperset(of: [.checksum, .tcp4, .tcp6]))
      let inside = try #require(IPAddress("10.90.57.30"))
      #expect(try netlink.route(to: inside)?.device == device.index)
      device.close()
      device.close()
      #expect(try netlink.link(named: "culvert-test") == nil)
      #expect(try netlink.route(to: inside) == nil)
    }
  }

  @Test("Without a name the kernel chooses one")
  func unnamed() throws {
    try NetworkNamespace.make().run {
      let device = try TunDevice(addresses: [])
      #expect(device.name == "tun0")
      #expect(device.mtu == 1500)
      let second = try TunDevice(name: "", addresses: [], offload: false)
      #expect(second.name == "tun1")
      #expect(second.headerLength == 0)
      #expect(second.offloads.isEmpty)
    }
  }

  @Test("Mistakes are told one by one")
  func errors() throws {
    try NetworkNamespace.make().run {
      func error(_ name: String?, mtu: Int? = nil, _ addresses: [String] = []) throws -> TunError? {
        do {
          _ = try TunDevice(name: name, mtu: mtu, addresses: addresses.compactMap { IPPrefix($0) })
          return nil
        } catch {
          return error
        }
      }
      let first = try TunDevice(name: "mine", addresses: [])
      #expect(try error("mine") == .nameTaken("mine"))
      #expect(try error("lo") == .nameTaken("lo"))
      #expect(try error("sixteen-bytes-xx")?.description.contains("at most 15 bytes") == true)
      #expect(try error("a/b")?.description.contains("refuses") == true)
      #expect(try error("tun%d")?.description.contains("refuses") == true)
      #expect(try error(nil, mtu: 67)?.description == "cannot use an mtu of 67: a TUN device takes 68 to 65535 bytes")
      #expect(try error(nil, mtu: 65536) != nil)
      #expect(try error(nil, mtu: 1279, ["fd00::1/64"])?.description.contains("RFC 8200") == true)
      #expect(try error(nil, mtu: 1279, ["10.0.0.1/24"]) == nil)
      first.close()
      // A program that another test starts in this moment holds the descriptor until it is executed.
      var left = try error("mine")
      for _ in 0..<500 where left != nil {
        usleep(10_000)
        left = try error("mine")
      }
      #expect(left == nil)
    }
  }

  @Test("A packet that the host sends into the device comes out of it, header first, and the other way round")
  func packets() throws {
    try NetworkNamespace.make().run {
      let prefix = try #require(IPPrefix("10.90.57.1/24"))
      let device = try TunDevice(addresses: [prefix], offload: false)
      let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 65600, alignment: 16)
      defer { buffer.deallocate() }
      #expect(device.read(into: buffer) == -Int(EAGAIN))
      let sender = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
      defer { close(sender) }
      var target = sockaddr_in()
      target.sin_family = sa_family_t(AF_INET)
      target.sin_port = UInt16(9).bigEndian
      target.sin_addr.s_addr = UInt32(0x0A5A_391E).bigEndian
      let sent = withUnsafePointer(to: &target) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          sendto(sender, "hello", 5, 0, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
        }
      }
      #expect(sent == 5)
      let count = device.read(into: buffer)
      #expect(count == 20 + 8 + 5)
      #expect(buffer[0] == 0x45 && buffer[9] == 17)
      #expect(buffer[16..<20].elementsEqual([10, 90, 57, 30]))
      let garbage: [UInt8] = [0x20, 1, 2, 3]
      #expect(garbage.withUnsafeBytes { device.write($0) } == -Int(EINVAL))
    }
  }

  @Test("A route to everything wins over the host's default route and leaves it in place")
  func defaultRoute() throws {
    try NetworkNamespace.make().run {
      let netlink = try NetlinkSocket()
      try netlink.createVethPair("up", peer: "far")
      let up = try #require(try netlink.link(named: "up"))
      try netlink.setUp(up)
      if let far = try netlink.link(named: "far") { try netlink.setUp(far) }
      for (address, gateway, probe, inner) in [
        ("192.0.2.2/24", "192.0.2.1", "203.0.113.9", "10.90.57.1/24"),
        ("2001:db8:1::2/64", "2001:db8:1::1", "2001:db8:ffff::9", "fd00:57::1/64"),
      ] {
        let prefix = try #require(IPPrefix(address))
        try netlink.addAddress(prefix, to: up)
        try netlink.addRoute(
          Route(to: Route.defaultPrefix(prefix.family), gateway: IPAddress(gateway), device: up.index))
        let device = try TunDevice(addresses: [try #require(IPPrefix(inner))])
        let target = try #require(IPAddress(probe))
        #expect(try netlink.route(to: target)?.device == up.index)
        try device.addRoute(to: Route.defaultPrefix(prefix.family))
        #expect(try netlink.route(to: target)?.device == device.index)
        device.removeRoute(to: Route.defaultPrefix(prefix.family))
        #expect(try netlink.route(to: target)?.device == up.index)
        try device.addRoute(to: Route.defaultPrefix(prefix.family))
        device.close()
        #expect(try netlink.route(to: target)?.gateway == IPAddress(gateway))
      }
    }
  }

  @Test("A host route that had to make room comes back")
  func displacedHostRoute() throws {
    try NetworkNamespace.make().run {
      let netlink = try NetlinkSocket()
      try netlink.createVethPair("up", peer: "far")
      let up = try #require(try netlink.link(named: "up"))
      try netlink.setUp(up)
      let target = try #require(IPAddress("203.0.113.9"))
      try netlink.addRoute(Route(to: .host(target), device: up.index))
      let device = try TunDevice(addresses: [try #require(IPPrefix("10.90.57.1/24"))])
      try device.addRoute(to: .host(target))
      #expect(try netlink.route(to: target)?.device == device.index)
      device.close()
      #expect(try netlink.route(to: target)?.device == up.index)
    }
  }
}
