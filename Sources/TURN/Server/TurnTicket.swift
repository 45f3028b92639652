import Values

/// A mobility ticket (RFC 8016): 128 bits as hexadecimal digits. A ticket is what its server likes; clients exist that take
/// it for a C string, so it is text.
public enum TurnTicket {
  private static let wordDigits = 16

  public static func text(of words: [UInt64]) -> [UInt8] {
    words.flatMap { word -> [UInt8] in
      let digits = Array(String(word, radix: 16).utf8)
      return [UInt8](repeating: 0x30, count: wordDigits - digits.count) + digits
    }
  }

  /// The words again; `nil` for what is no ticket.
  public static func words(in text: [UInt8]) -> [UInt64]? {
    guard !text.isEmpty, text.count.isMultiple(of: wordDigits) else { return nil }
    var words: [UInt64] = []
    for start in stride(from: 0, to: text.count, by: wordDigits) {
      let digits = String(decoding: text[start..<(start + wordDigits)], as: UTF8.self)
      guard digits.utf8.allSatisfy({ (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }),
        let word = UInt64(digits, radix: 16)
      else { return nil }
      words.append(word)
    }
    return words
  }
}
