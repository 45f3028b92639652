/// HTTP/1.x as a proxy needs it (RFC 9112, RFC 9110): heads to and from bytes, the framing of bodies, what may travel on
/// and what may not.
///
/// A proxy stands between two readers, and whatever the two read differently is a way to smuggle a request past one of
/// them. So a head is read strictly (`HTTPHeadParser`), never passed on as it came but written anew from what was
/// understood, and a field that is written has been checked, whoever gave it: from here no value ends a line.

/// The fields of a head, in their order.
public struct HTTPHeaders: Equatable, Sendable {
  public struct Field: Equatable, Sendable {
    /// A token, as it was written.
    public let name: String
    /// Without blanks around it, and without bytes that end a line.
    public let value: [UInt8]

    /// The value as text; bytes that are no UTF-8 are replaced.
    public var text: String { String(decoding: value, as: UTF8.self) }
  }

  public private(set) var fields: [Field] = []

  public init() {}

  /// Adds a field; false, and nothing is added, when the name is no token or the value has a byte that no value has.
  @discardableResult
  public mutating func append(_ name: String, _ value: some Sequence<UInt8>) -> Bool {
    let value = Array(value)
    guard HTTPText.isToken(name.utf8), value.allSatisfy(HTTPText.isValueByte) else { return false }
    fields.append(Field(name: name, value: HTTPText.trimmed(value[...])))
    return true
  }

  @discardableResult
  public mutating func append(_ name: String, _ value: String) -> Bool { append(name, value.utf8) }

  /// Puts a field in the place of all of its name.
  @discardableResult
  public mutating func set(_ name: String, _ value: String) -> Bool {
    guard HTTPText.isToken(name.utf8), value.utf8.allSatisfy(HTTPText.isValueByte) else { return false }
    remove(name)
    return append(name, value)
  }

  public mutating func remove(_ name: String) { fields.removeAll { HTTPText.same($0.name, name) } }

  /// Every value of the name, in order.
  public subscript(_ name: String) -> [Field] { fields.filter { HTTPText.same($0.name, name) } }

  public func has(_ name: String) -> Bool { fields.contains { HTTPText.same($0.name, name) } }

  /// Whether a word is among those that the fields of the name list, separated by commas.
  public func lists(_ word: String, in name: String) -> Bool {
    self[name].contains { field in HTTPText.words(field.value).contains { HTTPText.same($0, word) } }
  }

  func write(to bytes: inout [UInt8]) {
    for field in fields {
      bytes += field.name.utf8
      bytes += HTTPText.colon
      bytes += field.value
      bytes += HTTPText.lineEnd
    }
    bytes += HTTPText.lineEnd
  }
}

/// What bytes may stand where.
enum HTTPText {
  static let lineEnd: [UInt8] = [0x0D, 0x0A]
  static let colon: [UInt8] = [0x3A, 0x20]

  /// RFC 9110, section 5.6.2.
  static func isTokenByte(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"):
      true
    case UInt8(ascii: "!"), UInt8(ascii: "#"), UInt8(ascii: "$"), UInt8(ascii: "%"), UInt8(ascii: "&"),
      UInt8(ascii: "'"), UInt8(ascii: "*"), UInt8(ascii: "+"), UInt8(ascii: "-"), UInt8(ascii: "."),
      UInt8(ascii: "^"), UInt8(ascii: "_"), UInt8(ascii: "`"), UInt8(ascii: "|"), UInt8(ascii: "~"):
      true
    default: false
    }
  }

  static func isToken(_ bytes: some Collection<UInt8>) -> Bool { !bytes.isEmpty && bytes.allSatisfy(isTokenByte) }

  /// RFC 9110, section 5.5: no control bytes but the tab; bytes from 0x80 on are opaque.
  static func isValueByte(_ byte: UInt8) -> Bool { byte == 0x09 || (byte >= 0x20 && byte != 0x7F) }

  static func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }

  static func trimmed(_ bytes: ArraySlice<UInt8>) -> [UInt8] {
    var bytes = bytes
    while let last = bytes.last, isBlank(last) { bytes.removeLast() }
    return Array(bytes.drop(while: isBlank))
  }

  /// Equal but for the case of ASCII letters.
  static func same(_ left: some StringProtocol, _ right: some StringProtocol) -> Bool {
    left.utf8.count == right.utf8.count && zip(left.utf8, right.utf8).allSatisfy { lower($0) == lower($1) }
  }

  static func lower(_ byte: UInt8) -> UInt8 {
    (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte) ? byte | 0x20 : byte
  }

  /// The words of a list, without empty ones.
  static func words(_ value: [UInt8]) -> [String] {
    value.split(separator: UInt8(ascii: ",")).map { String(decoding: trimmed($0), as: UTF8.self) }.filter {
      !$0.isEmpty
    }
  }
}
