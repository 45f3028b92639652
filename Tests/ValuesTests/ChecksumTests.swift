import Testing
import Values

/// The Internet checksum against RFC 1071's numbers and a sum of two bytes at a time.
@Suite struct ChecksumTests {
  private static func simple(_ bytes: [UInt8]) -> UInt16 {
    var sum = 0
    for index in stride(from: 0, to: bytes.count, by: 2) {
      sum += Int(bytes[index]) << 8 | (index + 1 < bytes.count ? Int(bytes[index + 1]) : 0)
      sum = sum >> 16 + sum & 0xFFFF
    }
    return ~UInt16(sum)
  }

  private static func ours(_ bytes: [UInt8]) -> UInt16 {
    var sum = InternetChecksum()
    bytes.withUnsafeBytes { sum.add($0) }
    return sum.value
  }

  @Test func `the example of RFC 1071, section 3`() {
    let bytes: [UInt8] = [0x00, 0x01, 0xF2, 0x03, 0xF4, 0xF5, 0xF6, 0xF7]
    var sum = InternetChecksum()
    bytes.withUnsafeBytes { sum.add($0) }
    #expect(sum.folded == 0xDDF2)
    #expect(sum.value == 0x220D)
  }

  @Test func `an IPv4 header with its checksum in place sums to zero`() {
    let header: [UInt8] = [
      0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0xB8, 0x61, 0xC0, 0xA8, 0, 1, 0xC0, 0xA8, 0, 0xC7,
    ]
    #expect(Self.ours(header) == 0)
    var without = header
    without.replaceSubrange(10...11, with: [0, 0])
    #expect(Self.ours(without) == 0xB861)
  }

  @Test func `every length up to some vectors, at every alignment`() {
    var random = SeededGenerator(4)
    let bytes = random.bytes(300)
    for length in 0...280 {
      for start in 0...8 {
        let slice = Array(bytes[start..<(start + length)])
        var sum = InternetChecksum()
        bytes.withUnsafeBytes { sum.add(UnsafeRawBufferPointer(rebasing: $0[start..<(start + length)])) }
        check(sum.value == Self.simple(slice), "\(length) bytes at \(start)")
      }
    }
  }

  @Test func `carries are never lost`() {
    for length in [1, 2, 63, 64, 65, 1_500, 65_535, 1 << 20] {
      let bytes = [UInt8](repeating: 0xFF, count: length)
      #expect(Self.ours(bytes) == Self.simple(bytes), "\(length)")
    }
    var sum = InternetChecksum()
    for _ in 0..<100_000 { sum.add(UInt16.max) }
    #expect(sum.value == 0)
  }

  @Test func `copying sums the same and copies all`() {
    var random = SeededGenerator(5)
    for length in Array(0...200) + [1_499, 1_500, 9_001] {
      let bytes = random.bytes(length)
      var copy = [UInt8](repeating: 0xAA, count: length + 1)
      var sum = InternetChecksum()
      copy.withUnsafeMutableBytes { copy in
        guard let base = copy.baseAddress else { return }
        bytes.withUnsafeBytes { sum.add(copying: $0, to: base) }
      }
      #expect(sum.value == Self.simple(bytes))
      #expect(Array(copy.dropLast()) == bytes)
      #expect(copy.last == 0xAA)
    }
  }

  @Test func `parts at even offsets sum as the whole`() {
    var random = SeededGenerator(6)
    for _ in 0..<500 {
      let first = random.bytes(2 * random.number(0...100))
      let second = random.bytes(random.number(0...200))
      let number = UInt16.random(in: 0...UInt16.max, using: &random)
      let address =
        random.chance(2) ? IPAddress.v4(UInt32.random(in: 0...UInt32.max, using: &random)) : .v6(random.sparse())
      var whole = first
      whole.append(bigEndian: number)
      switch address {
      case .v4(let bits): whole.append(bigEndian: bits)
      case .v6(let bits): whole.append(bigEndian: bits)
      }
      var sum = InternetChecksum()
      first.withUnsafeBytes { sum.add($0) }
      sum.add(number)
      sum.add(address)
      second.withUnsafeBytes { sum.add($0) }
      #expect(sum.value == Self.simple(whole + second))
    }
  }
}
