/// Reading and writing addresses as text: RFC 4291 section 2.2 in, RFC 5952 out.

extension IPAddress {
  /// Reads a literal address; `nil` for anything else, names, zones and brackets included.
  public init?(_ text: some StringProtocol) {
    let bytes = Array(text.utf8)
    if bytes.contains(UInt8(ascii: ":")) {
      guard let bits = Self.parseIPv6(bytes) else { return nil }
      self = .v6(bits)
    } else {
      guard let bits = Self.parseIPv4(bytes[...]) else { return nil }
      self = .v4(bits)
    }
  }

  private static func parseIPv4(_ bytes: ArraySlice<UInt8>) -> UInt32? {
    let parts = bytes.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
    guard parts.count == 4 else { return nil }
    var bits: UInt32 = 0
    for part in parts {
      // A leading zero is refused: some resolvers read such a part as octal.
      guard (1...3).contains(part.count), part.count == 1 || part.first != UInt8(ascii: "0") else { return nil }
      var value: UInt32 = 0
      for byte in part {
        guard (0x30...0x39).contains(byte) else { return nil }
        value = value * 10 + UInt32(byte - 0x30)
      }
      guard value <= 255 else { return nil }
      bits = bits << 8 | value
    }
    return bits
  }

  private static func parseIPv6(_ bytes: [UInt8]) -> UInt128? {
    guard bytes.count <= 45 else { return nil }
    var head: [UInt16] = []
    var tail: [UInt16] = []
    var compressed = false
    var index = 0
    let colon = UInt8(ascii: ":")
    if bytes.count >= 2, bytes[0] == colon {
      guard bytes[1] == colon else { return nil }
      compressed = true
      index = 2
    }
    while index < bytes.count {
      let end = bytes[index...].firstIndex(of: colon) ?? bytes.count
      let part = bytes[index..<end]
      if end == bytes.count, part.contains(UInt8(ascii: ".")) {
        guard let embedded = parseIPv4(part) else { return nil }
        let pair = [UInt16(embedded >> 16), UInt16(truncatingIfNeeded: embedded)]
        if compressed { tail += pair } else { head += pair }
        index = end
        break
      }
      guard (1...4).contains(part.count) else { return nil }
      var value: UInt16 = 0
      for byte in part {
        guard let digit = hexDigit(byte) else { return nil }
        value = value << 4 | digit
      }
      if compressed { tail.append(value) } else { head.append(value) }
      if end == bytes.count {
        index = end
        break
      }
      index = end + 1
      if index == bytes.count { return nil }
      if bytes[index] == colon {
        guard !compressed else { return nil }
        compressed = true
        index += 1
      }
    }
    let count = head.count + tail.count
    guard compressed ? count <= 7 : count == 8 else { return nil }
    let groups = head + [UInt16](repeating: 0, count: 8 - count) + tail
    return groups.reduce(0) { $0 << 16 | UInt128($1) }
  }

  private static func hexDigit(_ byte: UInt8) -> UInt16? {
    switch byte {
    case 0x30...0x39: UInt16(byte - 0x30)
    case 0x41...0x46: UInt16(byte - 0x41 + 10)
    case 0x61...0x66: UInt16(byte - 0x61 + 10)
    default: nil
    }
  }
}

extension IPAddress: CustomStringConvertible {
  public var description: String {
    switch self {
    case .v4(let bits):
      return "\(bits >> 24).\(bits >> 16 & 255).\(bits >> 8 & 255).\(bits & 255)"
    case .v6(let bits):
      if bits >> 32 == 0xFFFF { return "::ffff:\(IPAddress.v4(UInt32(truncatingIfNeeded: bits)))" }
      let groups = (0..<8).map { UInt16(truncatingIfNeeded: bits >> UInt128(112 - 16 * $0)) }
      // RFC 5952, section 4.2: the longest run of two or more zero groups, the first of equals.
      var best = 0..<0
      var start = 0
      while start < 8 {
        guard groups[start] == 0 else {
          start += 1
          continue
        }
        let end = groups[start...].firstIndex { $0 != 0 } ?? 8
        if end - start > best.count, end - start >= 2 { best = start..<end }
        start = end
      }
      let hex = { (range: Range<Int>) in groups[range].map { String($0, radix: 16) }.joined(separator: ":") }
      return best.isEmpty ? hex(0..<8) : "\(hex(0..<best.lowerBound))::\(hex(best.upperBound..<8))"
    }
  }
}
