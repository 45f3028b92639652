import PacketOffload
import Testing
import Values

@Suite struct IPPacketViewTests {
  static let v4: [UInt8] = [
    0x45, 0xB9, 0x00, 0x1C, 0x12, 0x34, 0x40, 0x00, 0x3F, 0x11, 0x00, 0x00, 192, 0, 2, 1, 198, 51, 100, 7, 0x13,
    0x88, 0x00, 0x35, 0x00, 0x08, 0x00, 0x00,
  ]

  static func v6(_ next: UInt8, _ rest: [UInt8]) -> [UInt8] {
    var packet: [UInt8] = [0x6B, 0x91, 0x23, 0x45, 0, UInt8(rest.count), next, 61]
    packet += [0x20, 0x01, 0x0D, 0xB8] + [UInt8](repeating: 0, count: 11) + [1]
    packet += [0x20, 0x01, 0x0D, 0xB8] + [UInt8](repeating: 0, count: 11) + [2]
    return packet + rest
  }

  @Test func `every field of an IPv4 header is read`() throws {
    try IPPacketViewTests.v4.withUnsafeBytes { bytes in
      let view = try IPPacketView(bytes)
      #expect(view.family == .ipv4)
      #expect(view.headerLength == 20)
      #expect(view.totalLength == 28)
      #expect(view.source == IPAddress("192.0.2.1"))
      #expect(view.destination == IPAddress("198.51.100.7"))
      #expect(view.hopLimit == 63)
      #expect(view.trafficClass == 0xB9)
      #expect(view.dscp == 46)
      #expect(view.ecn == 1)
      #expect(view.dontFragment)
      #expect(!view.isFragment)
      #expect(view.protocolNumber == 17)
      #expect(view.ports?.source == 5_000)
      #expect(view.ports?.destination == 53)
      #expect(IPPacketView.destination(of: bytes) == view.destination)
      #expect(IPPacketView.source(of: bytes) == view.source)
    }
  }

  @Test func `every field of an IPv6 header is read`() throws {
    try IPPacketViewTests.v6(6, [UInt8](repeating: 7, count: 20)).withUnsafeBytes { bytes in
      let view = try IPPacketView(bytes)
      #expect(view.family == .ipv6)
      #expect(view.headerLength == 40)
      #expect(view.totalLength == 60)
      #expect(view.source == IPAddress("2001:db8::1"))
      #expect(view.destination == IPAddress("2001:db8::2"))
      #expect(view.hopLimit == 61)
      #expect(view.trafficClass == 0xB9)
      #expect(view.dontFragment)
      #expect(view.upperLayer?.offset == 40)
      #expect(view.ports?.source == 0x0707)
      #expect(IPPacketView.destination(of: bytes) == view.destination)
    }
  }

  @Test func `IPv6 extension headers are walked to the transport header`() throws {
    // Hop-by-hop (8), destination options (16), AH (12: length 1), atomic fragment (8), UDP.
    let rest: [UInt8] =
      [60, 0, 1, 4, 0, 0, 0, 0] + [51, 1] + [UInt8](repeating: 0, count: 14)
      + [44, 1] + [UInt8](repeating: 0, count: 10) + [17, 0, 0, 0, 1, 2, 3, 4]
      + [0x13, 0x88, 0x00, 0x35, 0x00, 0x08, 0, 0]
    try IPPacketViewTests.v6(0, rest).withUnsafeBytes { bytes in
      let view = try IPPacketView(bytes)
      #expect(view.protocolNumber == 17)
      #expect(view.upperLayer?.offset == 84)
      #expect(!view.isFragment)
      #expect(view.ports?.destination == 53)
    }
  }

  @Test func `fragments are recognised, and only the first shows ports`() throws {
    var first = IPPacketViewTests.v4
    first[6] = 0x20
    var later = IPPacketViewTests.v4
    later[7] = 0x05
    try first.withUnsafeBytes { bytes in
      let view = try IPPacketView(bytes)
      #expect(view.isFragment)
      #expect(!view.dontFragment)
      #expect(view.ports?.source == 5_000)
    }
    try later.withUnsafeBytes { bytes in
      let view = try IPPacketView(bytes)
      #expect(view.isFragment)
      #expect(view.upperLayer?.fragmentOffset == 40)
      #expect(view.ports == nil)
    }
    let six = IPPacketViewTests.v6(44, [6, 0, 0x00, 0x28, 0, 0, 0, 9] + [UInt8](repeating: 6, count: 24))
    try six.withUnsafeBytes { bytes in
      let view = try IPPacketView(bytes)
      #expect(view.isFragment)
      #expect(view.protocolNumber == 6)
      #expect(view.upperLayer?.fragmentOffset == 40)
      #expect(view.ports == nil)
    }
  }

  @Test func `extension headers that are cut short or endless lead to nothing`() throws {
    let short = IPPacketViewTests.v6(0, [60, 9, 0, 0, 0, 0, 0, 0])
    var endless: [UInt8] = []
    for _ in 0..<30 { endless += [60, 0, 0, 0, 0, 0, 0, 0] }
    for packet in [short, IPPacketViewTests.v6(60, endless), IPPacketViewTests.v6(44, [6, 0, 0])] {
      try packet.withUnsafeBytes { bytes in
        let view = try IPPacketView(bytes)
        #expect(view.upperLayer == nil)
        #expect(view.ports == nil)
        #expect(!view.isFragment)
      }
    }
  }

  @Test func `what is not a packet is refused with its reason`() {
    func fault(_ packet: [UInt8]) -> IPPacketView.Fault? {
      packet.withUnsafeBytes { bytes in
        do throws(IPPacketView.Fault) {
          _ = try IPPacketView(bytes)
          return nil
        } catch {
          return error
        }
      }
    }
    #expect(fault([]) == .empty)
    #expect(fault([0x50] + IPPacketViewTests.v4) == .version)
    #expect(fault(Array(IPPacketViewTests.v4[..<19])) == .header)
    #expect(fault(Array(IPPacketViewTests.v4[..<27])) == .length)
    #expect(fault([0x44] + IPPacketViewTests.v4[1...]) == .header)
    #expect(fault([0x4F] + IPPacketViewTests.v4[1...]) == .header)
    #expect(fault([0x60] + IPPacketViewTests.v4) == .header)
    #expect(fault([0x45, 0, 0, 19] + IPPacketViewTests.v4[4...]) == .length)
    #expect(fault(IPPacketViewTests.v4) == nil)
    #expect(fault(IPPacketViewTests.v4 + [1, 2, 3]) == nil)
  }

  @Test func `no byte anywhere and no cut makes an accessor read outside the packet`() {
    var dice = Dice(3)
    let rest: [UInt8] = [60, 0, 1, 4, 0, 0, 0, 0, 44, 0, 1, 4, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 1] + dice.bytes(24)
    var looked = 0
    for packet in [IPPacketViewTests.v4, IPPacketViewTests.v6(0, rest)] {
      for offset in packet.indices {
        for value in [0, 1, 0x3C, 0x7F, 0x80, 0xFF, UInt8(truncatingIfNeeded: dice.next())] {
          var mutated = packet
          mutated[offset] = value
          // An exact copy on the heap: an address sanitizer sees a read of one byte too many.
          for cut in [mutated.count, offset, offset + 1] {
            let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: cut, alignment: 1)
            defer { copy.deallocate() }
            copy.copyBytes(from: mutated[..<cut])
            let bytes = UnsafeRawBufferPointer(copy)
            _ = IPPacketView.destination(of: bytes)
            guard let view = try? IPPacketView(bytes) else { continue }
            if let upper = view.upperLayer { #expect(upper.offset <= view.totalLength) }
            #expect(view.totalLength <= cut)
            _ = (view.ports, view.source, view.destination, view.ecn, view.hopLimit, view.isFragment)
            looked += 1
          }
        }
      }
    }
    #expect(looked > 100)
  }
}
