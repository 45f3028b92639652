import Glibc
import LinuxNet
import Testing
import Values

@Suite("The filter against the kernel's reflection", .enabled(if: NetSupport.hasNamespaces, NetSupport.reason))
struct NetReflectionTests {
  /// "GOST", flags, reserved, length, payload.
  static func envelope(flags: UInt8) -> [UInt8] { Array("GOST".utf8) + [0, flags, 0, 0, 0, 4] + Array("quic".utf8) }

  @Test(
    "Only the kernel's answers to our envelopes are stopped: ping and our own replies pass",
    arguments: [AddressFamily.ipv4, .ipv6], [ReflectionFilter.Way.quietly, .dropping])
  func narrow(family: AddressFamily, way: ReflectionFilter.Way) throws {
    try NetworkNamespace.make().run {
      let echo = try #require(LoopbackEcho(family))
      // Without the filter the kernel reflects the envelope: the test can see what it is about.
      #expect(
        echo.replies(to: [Self.envelope(flags: 0), Array("ping".utf8)]) == [
          Self.envelope(flags: 0), Array("ping".utf8),
        ])
      let filter = try ReflectionFilter(families: [.ipv4, .ipv6], preferred: way)
      #expect(filter.way == way)
      #expect(echo.replies(to: [Self.envelope(flags: 0), Array("ping".utf8)]) == [Array("ping".utf8)])
      // Too short for an envelope, or another magic: ordinary pings.
      let others: [[UInt8]] = [
        [], Array("GOST".utf8), Array("GOST".utf8) + [0], Array("HOST".utf8) + [0, 0, 0, 0, 0, 0],
      ]
      #expect(echo.replies(to: others) == others)
      #expect(try filter.stoppedPackets() == 1)
      // A reply of ours, as the listener sends it.
      echo.sendReply(Self.envelope(flags: 1))
      #expect(echo.replies(to: [Array("end".utf8)]) == [Self.envelope(flags: 1), Array("end".utf8)])
      filter.remove()
      #expect(echo.replies(to: [Self.envelope(flags: 0)]) == [Self.envelope(flags: 0)])
    }
  }

  @Test("nft(8) shows the rules as the text says, and the table ends with its owner")
  func owner() throws {
    try NetworkNamespace.make().run {
      var filter: ReflectionFilter? = try ReflectionFilter(families: [.ipv6])
      let second = try ReflectionFilter(families: [.ipv4])
      let name = try #require(filter?.table)
      #expect(name == "culvert_\(getpid())")
      #expect(second.table == "culvert_\(getpid())_2")
      #expect(filter?.isOwned == true)
      if NetSupport.has("nft") {
        let listed = NetSupport.output("nft list table inet \(name)")
        #expect(listed.contains("flags owner"))
        #expect(listed.contains("type filter hook input priority 250; policy accept;"))
        #expect(
          listed.contains(
            "icmpv6 type echo-request @th,64,48 0x474f53540000 counter packets 0 bytes 0 icmpv6 type set 200"))
        // What is shown to the user is what nft itself would load.
        for (way, sign) in [
          (ReflectionFilter.Way.quietly, "icmp type echo-request @th"), (.dropping, "icmp type echo-reply @th"),
        ] {
          let text = ReflectionFilter.text(table: "shown", families: [.ipv4, .ipv6], way)
          #expect(!ReflectionFilter.line(text).contains("\n"))
          for form in [text, ReflectionFilter.line(text)] {
            let shown = NetSupport.output("echo '\(form)' | nft -f - && nft list table inet shown")
            #expect(shown.contains(sign), "\(shown)")
            _ = NetSupport.output("nft delete table inet shown")
          }
        }
        #expect(NetSupport.output("nft delete table inet \(name)").contains("not permitted"))
      }
      filter = nil
      if NetSupport.has("nft") {
        let tables = NetSupport.output("nft list tables")
        #expect(!tables.contains("inet \(name)\n"))
        #expect(tables.contains(second.table))
      }
    }
  }
}

/// A raw socket on the loopback interface, where the kernel answers while the request is being sent.
final class LoopbackEcho {
  private let descriptor: Int32
  private let family: AddressFamily

  init?(_ family: AddressFamily) {
    self.family = family
    descriptor = socket(
      family == .ipv4 ? AF_INET : AF_INET6, Int32(SOCK_RAW.rawValue), Int32(family == .ipv4 ? 1 : 58))
    if descriptor < 0 { return nil }
  }

  deinit { close(descriptor) }

  /// Sends echo requests with these data, a marker last, and returns the data of all replies before the marker's.
  func replies(to requests: [[UInt8]]) -> [[UInt8]] {
    let marker = Array("the end of the test".utf8)
    for data in requests + [marker] { send(type: family == .ipv4 ? 8 : 128, data) }
    var patience = timeval(tv_sec: 5, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
    var found: [[UInt8]] = []
    var buffer = [UInt8](repeating: 0, count: 2048)
    while case let count = recv(descriptor, &buffer, buffer.count, 0), count > 0 {
      let message = family == .ipv4 ? buffer[20..<count] : buffer[..<count]
      guard message.count >= 8, message[message.startIndex] == (family == .ipv4 ? 0 : 129) else { continue }
      let data = Array(message.dropFirst(8))
      if data == marker { return found }
      found.append(data)
    }
    return found + [Array("nothing after this".utf8)]
  }

  func sendReply(_ data: [UInt8]) { send(type: family == .ipv4 ? 0 : 129, data) }

  private func send(type: UInt8, _ data: [UInt8]) {
    var message: [UInt8] = [type, 0, 0, 0, 0x12, 0x34, 0, 1] + data
    if family == .ipv4 {
      var checksum = InternetChecksum()
      message.withUnsafeBytes { checksum.add($0) }
      message[2] = UInt8(checksum.value >> 8)
      message[3] = UInt8(truncatingIfNeeded: checksum.value)
      var target = sockaddr_in()
      target.sin_family = sa_family_t(AF_INET)
      target.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
      sendTo(&target, message)
    } else {
      var target = sockaddr_in6()
      target.sin6_family = sa_family_t(AF_INET6)
      target.sin6_addr = in6addr_loopback
      sendTo(&target, message)
    }
  }

  private func sendTo<Address>(_ target: inout Address, _ message: [UInt8]) {
    let size = socklen_t(MemoryLayout<Address>.size)
    withUnsafePointer(to: &target) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        _ = sendto(descriptor, message, message.count, 0, $0, size)
      }
    }
  }
}
