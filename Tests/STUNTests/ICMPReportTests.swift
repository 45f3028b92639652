import STUN
import Testing
import Values

@Suite("ICMP errors in indications") struct ICMPReportTests {
  @Test("Type and code share sixteen bits, seven and nine, and the MTU stands behind (RFC 8656, section 18.13)")
  func layout() throws {
    let report = try #require(ICMPReport(type: 3, code: 4, mtu: 1_280, family: .ipv4))
    var writer = STUNWriter(.indication, .data, TransactionID(high: 1, low: 2))
    writer.add(.xorPeerAddress, xor: Endpoint(.v4(0xCB00_7101), port: 7))
    writer.add(report)
    let bytes = writer.bytes
    #expect(Array(bytes.suffix(12)) == [0x80, 0x04, 0, 8, 0, 0, 0x06, 0x04, 0, 0, 5, 0])
    bytes.withUnsafeBytes {
      let read = STUNMessage($0)?.icmpReport
      #expect(read?.report == report && read?.peer == Endpoint(.v4(0xCB00_7101), port: 7))
    }
  }

  @Test("Only errors about the way are passed on, and a size only where one belongs")
  func kinds() {
    #expect(ICMPReport(type: 8, code: 0, mtu: 0, family: .ipv4) == nil)
    #expect(ICMPReport(type: 5, code: 1, mtu: 0, family: .ipv4) == nil)
    #expect(ICMPReport(type: 4, code: 0, mtu: 0, family: .ipv6) == nil)
    #expect(ICMPReport(type: 128, code: 0, mtu: 0, family: .ipv6) == nil)
    #expect(ICMPReport(type: 3, code: 3, mtu: 9, family: .ipv4)?.mtu == 0)
    #expect(ICMPReport(type: 2, code: 0, mtu: 1_400, family: .ipv6)?.mtu == 1_400)
    #expect(ICMPReport(type: 3, code: 1, mtu: 1_400, family: .ipv6)?.mtu == 0)
  }

  @Test(
    "An attribute that is cut short, too long, or of a code that ICMP has not, is none",
    arguments: [
      [0, 0, 6, 4, 0, 0, 5], [0, 0, 6, 4, 0, 0, 5, 0, 0], [0, 0, 7, 4, 0, 0, 5, 0], [],
    ] as [[UInt8]])
  func malformed(value: [UInt8]) {
    var writer = STUNWriter(.indication, .data, TransactionID(high: 1, low: 2))
    writer.add(.xorPeerAddress, xor: Endpoint(.v4(0xCB00_7101), port: 7))
    writer.add(.icmp, value)
    let bytes = writer.bytes
    bytes.withUnsafeBytes { #expect(STUNMessage($0)?.icmpReport == nil) }
  }
}
