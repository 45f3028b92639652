import Values

/// A line of a recording, read: JSON (RFC 8259) as far as a recording has any, which is without fractions.
///
/// Lines come from strangers. A line has at most `RecordValue.longestLine` bytes and eight levels, which bounds what
/// reading one can cost; whatever is not as it should be is an error with its place.
public enum RecordValue: Equatable, Sendable {
  case text(String)
  case number(Int64)
  case flag(Bool)
  case null
  case list([RecordValue])
  case object(RecordFields)

  public static let longestLine = 1 << 20
  static let deepest = 8

  public init(line: some Collection<UInt8>) throws(RecordingError) {
    guard line.count <= Self.longestLine else { throw RecordingError("a line of more than \(Self.longestLine) bytes") }
    var parser = Parser(Array(line))
    self = try parser.value(depth: 0)
    try parser.end()
  }
}

/// Why a recording cannot be read or run again; a clause without a full stop.
public struct RecordingError: Error, Equatable, Sendable, CustomStringConvertible {
  public let description: String

  public init(_ description: String) { self.description = description }
}

/// The members of an object, in order, with the checks that a reader of strangers' lines needs.
public struct RecordFields: Equatable, Sendable {
  public struct Member: Equatable, Sendable {
    public let name: String
    public let value: RecordValue
  }

  public private(set) var members: [Member] = []

  public init(_ members: [Member] = []) { self.members = members }

  public subscript(_ name: String) -> RecordValue? { members.first { $0.name == name }?.value }

  public func has(_ name: String) -> Bool { self[name] != nil }

  public func text(_ name: String) throws(RecordingError) -> String {
    guard case .text(let text)? = self[name] else { throw RecordingError("`\(name)` should be a text") }
    return text
  }

  public func texts(_ name: String) throws(RecordingError) -> [String] {
    guard case .list(let items)? = self[name] else { throw RecordingError("`\(name)` should be a list") }
    var texts: [String] = []
    for item in items {
      guard case .text(let text) = item else { throw RecordingError("`\(name)` should be a list of texts") }
      texts.append(text)
    }
    return texts
  }

  public func flag(_ name: String) throws(RecordingError) -> Bool {
    guard case .flag(let flag)? = self[name] else { throw RecordingError("`\(name)` should be true or false") }
    return flag
  }

  public func number<Number: FixedWidthInteger>(
    _ name: String, in range: ClosedRange<Number> = Number.min...Number.max
  ) throws(RecordingError) -> Number {
    guard case .number(let value)? = self[name], let number = Number(exactly: value), range.contains(number) else {
      throw RecordingError("`\(name)` should be a number from \(range.lowerBound) to \(range.upperBound)")
    }
    return number
  }

  public func numbers(_ name: String, in range: ClosedRange<Int>) throws(RecordingError) -> [Int] {
    guard case .list(let items)? = self[name] else { throw RecordingError("`\(name)` should be a list") }
    var numbers: [Int] = []
    for item in items {
      guard case .number(let value) = item, let number = Int(exactly: value), range.contains(number) else {
        throw RecordingError("`\(name)` should be a list of numbers in \(range.lowerBound)...\(range.upperBound)")
      }
      numbers.append(number)
    }
    return numbers
  }

  public func span(_ name: String) throws(RecordingError) -> TimeSpan? {
    has(name) ? TimeSpan(nanoseconds: try number(name)) : nil
  }

  public func address(_ name: String) throws(RecordingError) -> IPAddress {
    guard let address = IPAddress(try text(name)) else { throw RecordingError("`\(name)` should be an address") }
    return address
  }

  /// Numbers of 64 bits stand as texts of hexadecimal digits.
  public func bits(_ name: String) throws(RecordingError) -> UInt64 {
    guard let bits = UInt64(try text(name), radix: 16) else { throw RecordingError("`\(name)` should be hexadecimal") }
    return bits
  }

  public func object(_ name: String) throws(RecordingError) -> RecordFields {
    guard case .object(let fields)? = self[name] else { throw RecordingError("`\(name)` should be an object") }
    return fields
  }

  /// Bytes as `RecordLine.data` writes them.
  public func data(_ name: String) throws(RecordingError) -> [UInt8] {
    if has(name) { return Array(try text(name).utf8) }
    return try Self.bytes(hex: try text(name + ".hex")[...], name)
  }

  /// As `RecordLine.shape` writes it; of at most `limit` bytes.
  public func shape(_ name: String, limit: Int = RecordValue.longestLine) throws(RecordingError) -> ByteShape {
    var shape = ByteShape()
    var room = limit
    for word in try text(name).split(separator: " ") {
      if word.first == "*" {
        guard let count = Int(word.dropFirst()), count > 0, count <= room else {
          throw RecordingError("`\(name)` leaves out more bytes than there can be")
        }
        shape.leave(count)
        room -= count
      } else {
        let bytes = try Self.bytes(hex: word, name)
        guard bytes.count <= room else { throw RecordingError("`\(name)` has too many bytes") }
        shape.keep(bytes)
        room -= bytes.count
      }
    }
    return shape
  }

  private static func bytes(hex: Substring, _ name: String) throws(RecordingError) -> [UInt8] {
    var bytes: [UInt8] = []
    var high: UInt8?
    for digit in hex.utf8 {
      let value: UInt8
      switch digit {
      case 0x30...0x39: value = digit - 0x30
      case 0x61...0x66: value = digit - 0x61 + 10
      default: throw RecordingError("`\(name)` should be hexadecimal")
      }
      if let first = high {
        bytes.append(first << 4 | value)
        high = nil
      } else {
        high = value
      }
    }
    guard high == nil else { throw RecordingError("`\(name)` has half a byte") }
    return bytes
  }
}

/// Reads one value from bytes.
private struct Parser {
  private let bytes: [UInt8]
  private var index = 0

  init(_ bytes: [UInt8]) { self.bytes = bytes }

  private var next: UInt8? { index < bytes.count ? bytes[index] : nil }

  private func fail(_ what: String) -> RecordingError { RecordingError("\(what) at byte \(index + 1)") }

  private mutating func skipBlanks() {
    while let byte = next, byte == 0x20 || byte == 0x09 || byte == 0x0D || byte == 0x0A { index += 1 }
  }

  mutating func end() throws(RecordingError) {
    skipBlanks()
    guard next == nil else { throw fail("something behind the object") }
  }

  mutating func value(depth: Int) throws(RecordingError) -> RecordValue {
    guard depth < RecordValue.deepest else { throw fail("too many levels") }
    skipBlanks()
    switch next {
    case UInt8(ascii: "{")?: return .object(try object(depth))
    case UInt8(ascii: "[")?: return .list(try list(depth))
    case UInt8(ascii: "\"")?: return .text(try text())
    case UInt8(ascii: "t")?:
      try word("true")
      return .flag(true)
    case UInt8(ascii: "f")?:
      try word("false")
      return .flag(false)
    case UInt8(ascii: "n")?:
      try word("null")
      return .null
    default: return .number(try number())
    }
  }

  private mutating func word(_ word: String) throws(RecordingError) {
    guard bytes[index...].starts(with: word.utf8) else { throw fail("an unknown word") }
    index += word.utf8.count
  }

  private mutating func number() throws(RecordingError) -> Int64 {
    let start = index
    if next == UInt8(ascii: "-") { index += 1 }
    while let byte = next, (0x30...0x39).contains(byte) { index += 1 }
    guard let value = Int64(String(decoding: bytes[start..<index], as: UTF8.self)) else {
      throw fail("no value")
    }
    return value
  }

  private mutating func list(_ depth: Int) throws(RecordingError) -> [RecordValue] {
    index += 1
    var items: [RecordValue] = []
    skipBlanks()
    if next == UInt8(ascii: "]") {
      index += 1
      return items
    }
    while true {
      items.append(try value(depth: depth + 1))
      skipBlanks()
      let byte = next
      index += 1
      if byte == UInt8(ascii: "]") { return items }
      guard byte == UInt8(ascii: ",") else { throw fail("a list without an end") }
    }
  }

  private mutating func object(_ depth: Int) throws(RecordingError) -> RecordFields {
    index += 1
    var members: [RecordFields.Member] = []
    skipBlanks()
    if next == UInt8(ascii: "}") {
      index += 1
      return RecordFields(members)
    }
    while true {
      skipBlanks()
      guard next == UInt8(ascii: "\"") else { throw fail("a member without a name") }
      let name = try text()
      skipBlanks()
      guard next == UInt8(ascii: ":") else { throw fail("a member without a value") }
      index += 1
      members.append(RecordFields.Member(name: name, value: try value(depth: depth + 1)))
      skipBlanks()
      let byte = next
      index += 1
      if byte == UInt8(ascii: "}") { return RecordFields(members) }
      guard byte == UInt8(ascii: ",") else { throw fail("an object without an end") }
    }
  }

  private mutating func text() throws(RecordingError) -> String {
    index += 1
    var utf8: [UInt8] = []
    while let byte = next {
      index += 1
      switch byte {
      case UInt8(ascii: "\""):
        guard let text = String(validating: utf8, as: UTF8.self) else { throw fail("a text that is not UTF-8") }
        return text
      case UInt8(ascii: "\\"): utf8 += try escape()
      case ..<0x20: throw fail("a control character in a text")
      default: utf8.append(byte)
      }
    }
    throw fail("a text without an end")
  }

  private mutating func escape() throws(RecordingError) -> [UInt8] {
    let byte = next
    index += 1
    switch byte {
    case UInt8(ascii: "\"")?, UInt8(ascii: "\\")?, UInt8(ascii: "/")?: return byte.map { [$0] } ?? []
    case UInt8(ascii: "n")?: return [0x0A]
    case UInt8(ascii: "r")?: return [0x0D]
    case UInt8(ascii: "t")?: return [0x09]
    case UInt8(ascii: "b")?: return [0x08]
    case UInt8(ascii: "f")?: return [0x0C]
    case UInt8(ascii: "u")?:
      // What is written here is below 0x80; a half of a pair stands for nothing.
      guard index + 4 <= bytes.count,
        let code = UInt32(String(decoding: bytes[index..<(index + 4)], as: UTF8.self), radix: 16),
        let scalar = Unicode.Scalar(code)
      else { throw fail("an escape that is none") }
      index += 4
      return Array(String(Character(scalar)).utf8)
    default: throw fail("an escape that is none")
    }
  }
}
