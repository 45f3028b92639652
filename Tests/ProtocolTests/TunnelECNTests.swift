import Testing
import TunProtocol
import Values

@Suite("Congestion marks across a tunnel")
struct TunnelECNTests {
  /// A header of 20 bytes with a checksum that is right, or of 40.
  private func packet(_ family: AddressFamily, ecn: UInt8) -> [UInt8] {
    guard family == .ipv4 else { return [0x60 | 0x0A, 0xB5 & 0xCF | ecn << 4] + [UInt8](repeating: 7, count: 38) }
    var bytes: [UInt8] = [0x45, 0xB8 | ecn, 0, 40, 1, 2, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]
    let sum = checksum(bytes)
    bytes[10] = UInt8(sum >> 8)
    bytes[11] = UInt8(sum & 0xFF)
    return bytes + [UInt8](repeating: 9, count: 20)
  }

  private func checksum(_ bytes: [UInt8]) -> UInt16 {
    var sum: UInt32 = 0
    for index in stride(from: 0, to: 20, by: 2) { sum += UInt32(bytes[index]) << 8 | UInt32(bytes[index + 1]) }
    while sum >> 16 > 0 { sum = sum & 0xFFFF + sum >> 16 }
    return ~UInt16(sum)
  }

  /// RFC 6040, figure 4: rows are the inner bits, columns the outer; `nil` is "drop". Not-ECT, ECT(1), ECT(0), CE.
  private let table: [[UInt8?]] = [
    [0, 0, 0, nil],
    [1, 1, 1, 3],
    [2, 1, 2, 3],
    [3, 3, 3, 3],
  ]

  @Test(
    "Inner and outer bits go together as RFC 6040 says, and nothing else changes", arguments: AddressFamily.allCases)
  func decapsulation(_ family: AddressFamily) {
    for inner in UInt8(0)...3 {
      for outer in UInt8(0)...3 {
        var bytes = packet(family, ecn: inner)
        let survives = bytes.withUnsafeMutableBytes { ECN.decapsulate($0, outer: outer) }
        let expected = table[Int(inner)][Int(outer)]
        #expect(survives == (expected != nil), "inner \(inner), outer \(outer)")
        #expect(bytes == packet(family, ecn: expected ?? inner), "inner \(inner), outer \(outer)")
        #expect(bytes.withUnsafeBytes { ECN.bits(of: $0) } == expected ?? inner)
        if family == .ipv4 { #expect(checksum(bytes) == 0) }
      }
    }
  }

  @Test("A checksum that was wrong stays wrong, by as much")
  func wrongChecksum() {
    var bytes = packet(.ipv4, ecn: 2)
    bytes[11] ^= 0x10
    let before = checksum(bytes)
    bytes.withUnsafeMutableBytes { ECN.set(3, in: $0) }
    #expect(before != 0 && checksum(bytes) == before)
  }

  @Test("What is no IP packet, or too short, has no bits and keeps its bytes")
  func strangers() {
    for original in [[], [0x45], [UInt8](repeating: 0x45, count: 19), [UInt8](repeating: 0xFF, count: 40)] {
      var bytes: [UInt8] = original
      bytes.withUnsafeMutableBytes { ECN.set(3, in: $0) }
      #expect(bytes == original)
      #expect(bytes.withUnsafeBytes { ECN.bits(of: $0) } == 0)
    }
  }

  @Test("Only a handshake that came with marks possible is from somebody who understands them")
  func handshake() {
    #expect(!TunnelECN.isUnderstood(0))
    for outer in UInt8(1)...3 { #expect(TunnelECN.isUnderstood(outer)) }
    #expect(TunnelECN.isUnderstood(TunnelECN.ofHandshake))
  }
}
