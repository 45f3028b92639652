import Testing
import Values

@testable import PacketOffload

@Suite struct ChecksumTests {
  @Test func `the example of RFC 1071, section 3, has the sum it says`() {
    let bytes: [UInt8] = [0x00, 0x01, 0xF2, 0x03, 0xF4, 0xF5, 0xF6, 0xF7]
    var sum = InternetChecksum()
    bytes.withUnsafeBytes { sum.add($0) }
    #expect(sum.folded == 0xDDF2)
    #expect(sum.value == 0x220D)
  }

  @Test func `an IPv4 header from a textbook has the checksum it carries`() {
    let header: [UInt8] = [
      0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xB8, 0x61, 0xC0, 0xA8, 0x00, 0x01, 0xC0, 0xA8,
      0x00, 0xC7,
    ]
    var sum = InternetChecksum()
    header.withUnsafeBytes { sum.add($0) }
    #expect(sum.folded == 0xFFFF)
    var zeroed = header
    put(0, 10, in: &zeroed)
    #expect(~slowSum(zeroed) == 0xB861)
  }

  @Test func `summing and copying agree with the slow sum for every length and alignment`() {
    var dice = Dice(1)
    let source = dice.bytes(700)
    for count in 0...300 {
      for start in 0..<5 {
        let bytes = Array(source[start..<(start + count)])
        var added = InternetChecksum()
        var copied = InternetChecksum()
        var target = [UInt8](repeating: 0xEE, count: count + 9)
        source.withUnsafeBytes { source in
          let part = UnsafeRawBufferPointer(rebasing: source[start..<(start + count)])
          added.add(part)
          target.withUnsafeMutableBytes { room in
            if let base = room.baseAddress { copied.add(copying: part, to: base + 1) }
          }
        }
        #expect(added.folded == slowSum(bytes))
        #expect(copied.folded == slowSum(bytes))
        #expect(Array(target[1..<(count + 1)]) == bytes)
        #expect(target[0] == 0xEE && target[(count + 1)...].allSatisfy { $0 == 0xEE })
      }
    }
  }

  @Test func `sums of nothing but ones do not lose a carry`() {
    for count in [2, 64, 128, 1_420, 65_534] {
      var sum = InternetChecksum()
      [UInt8](repeating: 0xFF, count: count).withUnsafeBytes { sum.add($0) }
      #expect(sum.folded == 0xFFFF)
    }
  }

  @Test func `an incremental update gives what summing again gives`() {
    var dice = Dice(2)
    for _ in 0..<500 {
      var bytes = dice.bytes(40)
      let before = ~slowSum(bytes)
      let old = word(bytes, 10)
      let new = UInt16(truncatingIfNeeded: dice.next())
      put(new, 10, in: &bytes)
      #expect(TransportChecksum.updated(before, from: old, to: new) == ~slowSum(bytes))
    }
  }
}
