import Glibc
import LinuxNet
import Testing
import Values

@Suite("Looking at a namespace without touching it", .enabled(if: NetSupport.hasNamespaces, NetSupport.reason))
struct NetSocketTableTests {
  @Test("Listening TCP sockets and bound UDP sockets are listed as ss(8) lists them, with who takes no IPv4")
  func sockets() throws {
    try NetworkNamespace.make().run {
      #expect(try SocketTable().bound().isEmpty)
      var open: [Int32] = []
      defer { for descriptor in open { close(descriptor) } }
      func make(_ kind: __socket_type, _ port: UInt16, onlyIPv6: Int32, listens: Bool) {
        let descriptor = socket(AF_INET6, Int32(kind.rawValue), 0)
        open.append(descriptor)
        var only = onlyIPv6
        setsockopt(descriptor, Int32(IPPROTO_IPV6), IPV6_V6ONLY, &only, socklen_t(MemoryLayout<Int32>.size))
        var address = sockaddr_in6()
        address.sin6_family = sa_family_t(AF_INET6)
        address.sin6_port = port.bigEndian
        let bound = withUnsafePointer(to: &address) {
          $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in6>.size))
          }
        }
        #expect(bound == 0 && (!listens || listen(descriptor, 1) == 0))
      }
      make(SOCK_STREAM, 4001, onlyIPv6: 0, listens: true)
      make(SOCK_STREAM, 4002, onlyIPv6: 1, listens: true)
      make(SOCK_STREAM, 4003, onlyIPv6: 0, listens: false)
      make(SOCK_DGRAM, 4004, onlyIPv6: 0, listens: false)
      let found = try SocketTable().bound().sorted { $0.port < $1.port }
      #expect(found.map(\.port) == [4001, 4002, 4004])
      #expect(found.map(\.transport) == [.tcp, .tcp, .udp] && found.allSatisfy { $0.address == .anyIPv6 })
      #expect(found.map(\.isIPv6Only) == [false, true, false])
      let listed = NetSupport.output("ss -Htuln")
      for socket in found { #expect(listed.contains(":\(socket.port) "), "\(listed)") }
      // A descriptor's own number is how its owner is found.
      var facts = stat()
      #expect(
        fstat(try #require(open.first), &facts) == 0 && found.first?.inode == UInt32(truncatingIfNeeded: facts.st_ino))
    }
  }

  @Test("Rules that look at marks are read as ip(8) writes them")
  func rules() throws {
    guard NetSupport.has("ip") else { return }
    try NetworkNamespace.make().run {
      let netlink = try NetlinkSocket()
      #expect(try netlink.markRules(.ipv4).isEmpty && netlink.markRules(.ipv6).isEmpty)
      let said = NetSupport.output(
        "ip rule add fwmark 7 table 100; ip rule add not fwmark 0x10/0xf0 table 101; ip -6 rule add fwmark 9 table 100; "
          + "ip rule add to 192.0.2.0/24 table 102")
      #expect(said.isEmpty, "\(said)")
      let rules = try netlink.markRules(.ipv4).sorted { $0.mark < $1.mark }
      #expect(rules.map(\.mark) == [7, 16] && rules.map(\.mask) == [.max, 0xF0])
      #expect(rules.map(\.isInverted) == [false, true])
      #expect(try netlink.markRules(.ipv6).map(\.mark) == [9])
    }
  }

  @Test("Switches are seen as they are set, and a TUN device that is there is not taken over")
  func switches() throws {
    guard NetSupport.has("ip"), NetSupport.has("sysctl"), NetSupport.hasTun else { return }
    try NetworkNamespace.make().run {
      let said = NetSupport.output(
        "sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.lo.rp_filter=2 "
          + "&& ip tuntap add tun5 mode tun")
      #expect(said.isEmpty, "\(said)")
      #expect(NetworkSwitches.forwards(.ipv4) && !NetworkSwitches.forwards(.ipv6))
      #expect(NetworkSwitches.reversePathFilter("lo") == 2 && NetworkSwitches.number("ipv4/no_such_file") == nil)
      // Every interface of that name is in the way, also one that nobody has open.
      #expect(throws: TunError.self) { try TunDevice(name: "tun5", addresses: []) }
    }
  }
}
