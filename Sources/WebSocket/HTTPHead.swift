/// The head of an HTTP/1.1 message, as far as an opening handshake needs one (RFC 9112).
///
/// It is strict where leniency would let two programs read one head in two ways: lines end with CR LF, a name is a token
/// with its colon right behind it, nothing is folded, no control character stands anywhere. It is bounded in bytes and
/// in fields, and an end that does not speak HTTP at all is found out by its first bytes, so that a user reads that and
/// not that time ran out.
struct HTTPHead {
  /// The request line or the status line.
  let startLine: String
  private(set) var fields: [WebSocketField] = []

  static let maximumSize = 16 * 1024
  static let maximumFields = 100

  /// Reads a head that `HTTPHeadScanner` found the end of, its empty line included.
  init(_ bytes: UnsafeRawBufferPointer) throws(WebSocketError) {
    var lines = bytes.split(separator: 10, omittingEmptySubsequences: false).makeIterator()
    startLine = String(decoding: try Self.line(lines.next()), as: UTF8.self)
    while let next = lines.next() {
      let line = try Self.line(next)
      if line.isEmpty { return }
      guard fields.count < Self.maximumFields else { throw .malformedHead("more than \(Self.maximumFields) fields") }
      guard let colon = line.firstIndex(of: 0x3A) else { throw .malformedHead("a line without a colon") }
      let name = line[..<colon]
      guard !name.isEmpty, name.allSatisfy(isTokenByte) else { throw .malformedHead("a name that is none") }
      fields.append(
        WebSocketField(
          String(decoding: name, as: UTF8.self),
          String(decoding: Self.trimmed(line[line.index(after: colon)...]), as: UTF8.self)))
    }
    throw .malformedHead("no empty line at its end")
  }

  private static func line(
    _ line: Slice<UnsafeRawBufferPointer>?
  ) throws(WebSocketError) -> Slice<UnsafeRawBufferPointer> {
    guard let line, line.last == 13 else { throw .malformedHead("a line that does not end with CR LF") }
    let text = line.dropLast()
    guard text.allSatisfy(isTextByte) else { throw .malformedHead("a control character") }
    return text
  }

  private static func trimmed(_ text: Slice<UnsafeRawBufferPointer>) -> Slice<UnsafeRawBufferPointer> {
    var text = text
    while let first = text.first, first == 0x20 || first == 9 { text.removeFirst() }
    while let last = text.last, last == 0x20 || last == 9 { text.removeLast() }
    return text
  }

  /// The field's value; `nil` when it is not there, or there more than once.
  func single(_ name: String) -> String? {
    let values = fields.values(of: name)
    return values.count == 1 ? values.first : nil
  }

  /// Whether one of the comma-separated words in the fields of this name is `word`, in any case of letters.
  func lists(_ word: String, in name: String) -> Bool {
    fields.values(of: name).contains { value in
      value.split(separator: ",").contains { item in
        item.trimmingBlanks.lowercased() == word
      }
    }
  }
}

/// One line of a head.
public struct WebSocketField: Equatable, Sendable {
  public let name: String
  public let value: String

  public init(_ name: String, _ value: String) {
    self.name = name
    self.value = value
  }

  /// Whether it can be written without becoming something else.
  var isWritable: Bool {
    !name.isEmpty && name.utf8.allSatisfy(isTokenByte) && value.utf8.allSatisfy(isTextByte)
      && value.trimmingBlanks == value[...]
  }
}

extension [WebSocketField] {
  /// The values of all fields of this name, in any case of letters.
  public func values(of name: String) -> [String] {
    let wanted = name.lowercased()
    return compactMap { $0.name.lowercased() == wanted ? $0.value : nil }
  }
}

/// Looks for the end of a head in bytes that grow, and at no byte twice.
struct HTTPHeadScanner {
  private var scanned = 0
  private var lineStart = 0

  /// The size of the head with its empty line, once that has come. `bytes` begins with what was given before.
  mutating func size(in bytes: UnsafeRawBufferPointer) throws(WebSocketError) -> Int? {
    while scanned < bytes.count {
      guard scanned < HTTPHead.maximumSize else { throw .headTooLong }
      let byte = bytes[scanned]
      scanned += 1
      if byte == 10 {
        guard scanned >= 2, bytes[scanned - 2] == 13 else {
          throw .malformedHead("a line that does not end with CR LF")
        }
        if scanned - lineStart == 2 { return scanned }
        lineStart = scanned
      } else if byte == 0 {
        throw .malformedHead("a control character")
      }
    }
    if scanned >= HTTPHead.maximumSize { throw .headTooLong }
    return nil
  }
}

/// RFC 9110, section 5.6.2.
func isTokenByte(_ byte: UInt8) -> Bool {
  switch byte {
  case 0x30...0x39, 0x41...0x5A, 0x61...0x7A: true
  case 0x21, 0x23...0x27, 0x2A, 0x2B, 0x2D, 0x2E, 0x5E, 0x5F, 0x60, 0x7C, 0x7E: true
  default: false
  }
}

/// What may stand in a value: tab, blank, visible characters, and bytes above ASCII.
func isTextByte(_ byte: UInt8) -> Bool { byte == 9 || (byte >= 0x20 && byte != 0x7F) }

extension StringProtocol {
  var trimmingBlanks: SubSequence {
    var rest = self[startIndex..<endIndex]
    while let first = rest.first, first == " " || first == "\t" { rest.removeFirst() }
    while let last = rest.last, last == " " || last == "\t" { rest.removeLast() }
    return rest
  }
}
