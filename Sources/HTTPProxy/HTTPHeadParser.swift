/// Why bytes are not a head or a body that a proxy may pass on. The sender is to blame in every case.
public enum HTTPError: Error, Equatable, Sendable {
  /// The head has more than `HTTPLimits.head` bytes.
  case headTooLong
  /// The head has more than `HTTPLimits.fields` fields.
  case tooManyFields
  /// The first line is no request or response.
  case malformedLine
  /// Not HTTP/1.0 or HTTP/1.1.
  case version
  /// A line without a colon or with a blank before it, one that goes on the next, or a byte that no line has.
  case malformedField
  /// More than one Host, or one that is none.
  case host
  /// Its length cannot be told for certain: Content-Length twice, or no number, or beside Transfer-Encoding.
  case ambiguousLength
  /// A Transfer-Encoding other than `chunked`.
  case transferEncoding
  /// A chunk whose size cannot be read, or that does not end where it says, or trailers that must not be.
  case malformedChunk
  /// The stream ended before the body did.
  case truncated
}

extension HTTPError {
  /// The status that says so to a client.
  public var status: Int {
    switch self {
    case .headTooLong, .tooManyFields: 431
    case .version: 505
    case .transferEncoding: 501
    default: 400
    }
  }
}

extension HTTPError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .headTooLong: "the head is longer than \(HTTPLimits.head) bytes"
    case .tooManyFields: "the head has more than \(HTTPLimits.fields) fields"
    case .malformedLine: "the first line is not one of HTTP"
    case .version: "the version is neither HTTP/1.0 nor HTTP/1.1"
    case .malformedField: "a header field is malformed"
    case .host: "there must be one Host, and it must be a host"
    case .ambiguousLength: "the length of the body is not certain"
    case .transferEncoding: "a transfer encoding other than chunked"
    case .malformedChunk: "a chunk of the body is malformed"
    case .truncated: "the body ended before its length"
    }
  }
}

/// What a head may cost: an unfinished one costs its sender nothing.
public enum HTTPLimits {
  /// Bytes of a head, its last empty line included.
  public static let head = 64 * 1024
  public static let fields = 128
  /// Bytes of a line that gives a chunk's size.
  static let chunkLine = 1024
  /// Bytes of all trailers of a body.
  static let trailers = 16 * 1024
  /// Empty lines that may stand before a request (RFC 9112, section 2.2).
  static let emptyLines = 4
  static let method = 32
}

/// Finds and reads a head at the beginning of what has arrived so far.
///
/// The owner hands in all bytes from the head's first on, as often as there are more; the parser remembers how far it has
/// looked, so that a sender of single bytes costs no more than another. What can be no head is refused as soon as it
/// shows, without waiting for its end.
public struct HTTPHeadParser {
  public enum Outcome<Head> {
    /// Some bytes more.
    case needsMore
    case head(Head, consumed: Int)
  }

  /// Bytes in which the end was looked for already.
  private var scanned = 0

  public init() {}

  public mutating func request(_ bytes: UnsafeRawBufferPointer) throws(HTTPError) -> Outcome<HTTPRequestHead> {
    var start = 0
    while start < bytes.count, bytes[start] == Self.return || bytes[start] == Self.feed {
      guard start < 2 * HTTPLimits.emptyLines, bytes[start] == (start % 2 == 0 ? Self.return : Self.feed) else {
        throw .malformedLine
      }
      start += 1
    }
    guard start % 2 == 0 || start == bytes.count else { throw .malformedLine }
    try Self.checkMethod(UnsafeRawBufferPointer(rebasing: bytes[start...]))
    guard let end = try end(of: bytes, from: start) else { return .needsMore }
    let lines = try Self.lines(UnsafeRawBufferPointer(rebasing: bytes[start..<end]), takesBareFeed: false)
    guard let first = lines.first else { throw .malformedLine }
    let words = first.split(separator: 0x20, maxSplits: 3, omittingEmptySubsequences: false)
    guard words.count == 3, HTTPText.isToken(words[0]), words[0].count <= HTTPLimits.method else {
      throw .malformedLine
    }
    let minor = try Self.minorVersion(words[2])
    let headers = try Self.headers(lines.dropFirst())
    guard
      let head = HTTPRequestHead(
        method: String(decoding: words[0], as: UTF8.self), target: words[1], minorVersion: minor, headers: headers)
    else { throw .malformedLine }
    guard headers["Host"].count <= 1 else { throw .host }
    scanned = 0
    return .head(head, consumed: end)
  }

  /// Servers there are that end lines with a line feed alone; a response is written anew, so that the client sees none.
  public mutating func response(_ bytes: UnsafeRawBufferPointer) throws(HTTPError) -> Outcome<HTTPResponseHead> {
    guard zip(bytes, Self.protocolName).allSatisfy({ $0 == $1 }) else { throw .malformedLine }
    guard let end = try end(of: bytes, from: 0) else { return .needsMore }
    let lines = try Self.lines(UnsafeRawBufferPointer(rebasing: bytes[..<end]), takesBareFeed: true)
    guard let first = lines.first else { throw .malformedLine }
    let words = first.split(separator: 0x20, maxSplits: 2, omittingEmptySubsequences: false)
    guard words.count >= 2, words[1].count == 3, words[1].allSatisfy(Self.isDigit) else { throw .malformedLine }
    let status = words[1].reduce(0) { $0 * 10 + Int($1 - UInt8(ascii: "0")) }
    guard status >= 100 else { throw .malformedLine }
    let reason = words.count > 2 ? words[2] : []
    guard reason.allSatisfy(HTTPText.isValueByte) else { throw .malformedLine }
    let head = HTTPResponseHead(
      status: status, reason: reason, minorVersion: try Self.minorVersion(words[0]),
      headers: try Self.headers(lines.dropFirst()))
    scanned = 0
    return .head(head, consumed: end)
  }

  // MARK: Lines

  private static let `return`: UInt8 = 0x0D
  private static let feed: UInt8 = 0x0A
  private static let protocolName = Array("HTTP/1.".utf8)

  private static func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }

  /// The offset behind the empty line.
  private mutating func end(of bytes: UnsafeRawBufferPointer, from start: Int) throws(HTTPError) -> Int? {
    var index = max(scanned, start)
    while index < bytes.count {
      if bytes[index] == Self.feed {
        let next = index + 1
        if next < bytes.count, bytes[next] == Self.feed { return try within(next + 1) }
        if next + 1 < bytes.count, bytes[next] == Self.return, bytes[next + 1] == Self.feed {
          return try within(next + 2)
        }
        // What stands behind a line's end decides, and is not there yet.
        if next >= bytes.count || (next + 1 >= bytes.count && bytes[next] == Self.return) { break }
      }
      index += 1
    }
    scanned = index
    guard bytes.count < HTTPLimits.head else { throw .headTooLong }
    return nil
  }

  private func within(_ end: Int) throws(HTTPError) -> Int {
    guard end <= HTTPLimits.head else { throw .headTooLong }
    return end
  }

  /// A method stands in front, whole or in part; a ClientHello, or a greeting of SOCKS, is told at once.
  private static func checkMethod(_ bytes: UnsafeRawBufferPointer) throws(HTTPError) {
    for (index, byte) in bytes.enumerated() {
      if byte == 0x20 {
        guard index > 0 else { throw .malformedLine }
        return
      }
      guard index < HTTPLimits.method, HTTPText.isTokenByte(byte) else { throw .malformedLine }
    }
  }

  /// The lines without their ends and without the empty one. A line feed alone ends a line only where it may; a carriage
  /// return stands nowhere else.
  private static func lines(
    _ bytes: UnsafeRawBufferPointer, takesBareFeed: Bool
  ) throws(HTTPError) -> [[UInt8]] {
    var lines: [[UInt8]] = []
    var start = 0
    while start < bytes.count, let end = bytes[start...].firstIndex(of: feed) {
      let hasReturn = end > start && bytes[end - 1] == `return`
      guard hasReturn || takesBareFeed else { throw .malformedField }
      let line = bytes[start..<(hasReturn ? end - 1 : end)]
      start = end + 1
      if line.isEmpty { break }
      guard !line.contains(`return`) else { throw .malformedField }
      // The first line is no field.
      guard lines.count <= HTTPLimits.fields else { throw .tooManyFields }
      lines.append(Array(line))
    }
    return lines
  }

  private static func minorVersion(_ word: ArraySlice<UInt8>) throws(HTTPError) -> Int {
    guard word.count == protocolName.count + 1, word.starts(with: protocolName), let digit = word.last else {
      let isHTTP = word.starts(with: protocolName.prefix(5))
      throw isHTTP ? .version : .malformedLine
    }
    switch digit {
    case UInt8(ascii: "0"): return 0
    case UInt8(ascii: "1"): return 1
    default: throw .version
    }
  }

  private static func headers(_ lines: ArraySlice<[UInt8]>) throws(HTTPError) -> HTTPHeaders {
    var headers = HTTPHeaders()
    for line in lines {
      guard let (name, value) = field(line), headers.append(name, value) else { throw .malformedField }
    }
    return headers
  }

  /// A name without a blank around it, a colon, a value.
  static func field(_ line: [UInt8]) -> (String, [UInt8])? {
    guard let colon = line.firstIndex(of: UInt8(ascii: ":")), HTTPText.isToken(line[..<colon]) else { return nil }
    return (String(decoding: line[..<colon], as: UTF8.self), HTTPText.trimmed(line[(colon + 1)...]))
  }
}
