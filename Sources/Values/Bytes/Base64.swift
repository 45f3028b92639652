/// Base64 (RFC 4648), both alphabets, padded or not.
///
/// Credentials in an HTTP header, the handshake of WebSocket and `auth=` in a URL are written in it. Reading is strict in
/// what is a digit and in how much padding there may be, and takes either length: with its padding or without. Bits of
/// the last digit that no byte holds are passed over, as Go does, so that whatever GOST reads is read.
public enum Base64 {
  public enum Alphabet: Sendable {
    /// Section 4: the last digits are `+` and `/`.
    case standard
    /// Section 5: the last digits are `-` and `_`, which need no escape in a URL or a file's name.
    case url
  }

  public static func encode(
    _ bytes: some Sequence<UInt8>, alphabet: Alphabet = .standard, isPadded: Bool = true
  ) -> String {
    var digits: [UInt8] = []
    digits.reserveCapacity((bytes.underestimatedCount + 2) / 3 * 4)
    var group: UInt32 = 0
    var held = 0
    for byte in bytes {
      group = group << 8 | UInt32(byte)
      held += 1
      guard held == 3 else { continue }
      for shift in [18, 12, 6, 0] as [UInt32] { digits.append(digit(group >> shift & 63, alphabet)) }
      group = 0
      held = 0
    }
    if held > 0 {
      group <<= UInt32(8 * (3 - held))
      for place in 0...held { digits.append(digit(group >> UInt32(18 - 6 * place) & 63, alphabet)) }
      if isPadded { for _ in held..<3 { digits.append(pad) } }
    }
    return String(decoding: digits, as: UTF8.self)
  }

  /// `nil` for a byte that is no digit of the alphabet, blanks and line ends included, and for a length that no bytes
  /// have.
  public static func decode(_ text: some Collection<UInt8>, alphabet: Alphabet = .standard) -> [UInt8]? {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(text.count / 4 * 3 + 2)
    var group: UInt32 = 0
    var held = 0
    var pads = 0
    for digit in text {
      if digit == pad {
        pads += 1
        continue
      }
      guard pads == 0, let value = value(digit, alphabet) else { return nil }
      group = group << 6 | value
      held += 1
      guard held == 4 else { continue }
      for shift in [16, 8, 0] as [UInt32] { bytes.append(UInt8(truncatingIfNeeded: group >> shift)) }
      group = 0
      held = 0
    }
    switch (held, pads) {
    case (0, 0): break
    case (2, 0), (2, 2): bytes.append(UInt8(truncatingIfNeeded: group >> 4))
    case (3, 0), (3, 1):
      bytes.append(UInt8(truncatingIfNeeded: group >> 10))
      bytes.append(UInt8(truncatingIfNeeded: group >> 2))
    default: return nil
    }
    return bytes
  }

  public static func decode(_ text: some StringProtocol, alphabet: Alphabet = .standard) -> [UInt8]? {
    decode(Array(text.utf8), alphabet: alphabet)
  }

  private static let pad = UInt8(ascii: "=")

  private static func digit(_ value: UInt32, _ alphabet: Alphabet) -> UInt8 {
    let value = UInt8(truncatingIfNeeded: value)
    switch value {
    case ..<26: return UInt8(ascii: "A") &+ value
    case ..<52: return UInt8(ascii: "a") &+ (value &- 26)
    case ..<62: return UInt8(ascii: "0") &+ (value &- 52)
    case 62: return alphabet == .standard ? UInt8(ascii: "+") : UInt8(ascii: "-")
    default: return alphabet == .standard ? UInt8(ascii: "/") : UInt8(ascii: "_")
    }
  }

  private static func value(_ digit: UInt8, _ alphabet: Alphabet) -> UInt32? {
    switch digit {
    case UInt8(ascii: "A")...UInt8(ascii: "Z"): UInt32(digit &- UInt8(ascii: "A"))
    case UInt8(ascii: "a")...UInt8(ascii: "z"): UInt32(digit &- UInt8(ascii: "a") &+ 26)
    case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt32(digit &- UInt8(ascii: "0") &+ 52)
    case UInt8(ascii: "+") where alphabet == .standard, UInt8(ascii: "-") where alphabet == .url: 62
    case UInt8(ascii: "/") where alphabet == .standard, UInt8(ascii: "_") where alphabet == .url: 63
    default: nil
    }
  }
}
