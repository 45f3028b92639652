/// Bytes that no YAML document may hold, found before libyaml sees them, so that each gets a message of its own.
enum ByteFault: Equatable {
  /// Not UTF-8 (RFC 3629) from this offset on.
  case invalid(offset: Int)
  /// A control character that YAML forbids.
  case control(offset: Int, UInt32)

  /// The first fault, or `nil`. Never reads outside `bytes`.
  static func first(in bytes: [UInt8]) -> ByteFault? {
    bytes.withUnsafeBufferPointer { buffer in
      var index = 0
      let count = buffer.count
      while index < count {
        let byte = buffer[index]
        if byte < 0x80 {
          if byte < 0x20 && byte != 0x09 && byte != 0x0A && byte != 0x0D || byte == 0x7F {
            return .control(offset: index, UInt32(byte))
          }
          index += 1
          continue
        }
        let length: Int
        var scalar: UInt32
        switch byte {
        case 0xC2...0xDF: (length, scalar) = (2, UInt32(byte & 0x1F))
        case 0xE0...0xEF: (length, scalar) = (3, UInt32(byte & 0x0F))
        case 0xF0...0xF4: (length, scalar) = (4, UInt32(byte & 0x07))
        default: return .invalid(offset: index)
        }
        guard index + length <= count else { return .invalid(offset: index) }
        for next in index + 1..<index + length {
          guard buffer[next] & 0xC0 == 0x80 else { return .invalid(offset: index) }
          scalar = scalar << 6 | UInt32(buffer[next] & 0x3F)
        }
        let shortest: UInt32 = length == 2 ? 0x80 : length == 3 ? 0x800 : 0x1_0000
        guard scalar >= shortest, Unicode.Scalar(scalar) != nil else { return .invalid(offset: index) }
        if (0x80...0x9F).contains(scalar) && scalar != 0x85 || scalar == 0xFFFE || scalar == 0xFFFF {
          return .control(offset: index, scalar)
        }
        index += length
      }
      return nil
    }
  }
}
