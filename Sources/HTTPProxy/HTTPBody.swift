/// Where a body ends.
///
/// A body is passed on as it came, chunks and all, so the machine only says how many of the bytes that arrived belong to
/// it and whether that was all. What it counts it has read strictly: two readers that cut chunks differently would see
/// two streams of messages.
public struct HTTPBody: Sendable {
  public enum Length: Equatable, Sendable {
    case none
    case bytes(UInt64)
    case chunked
    /// A response without a length lasts until the connection ends.
    case untilClose
  }

  private enum State {
    case done
    case counted(UInt64)
    case open
    /// In the line of a chunk's size: the size so far, its digits, the bytes of the line.
    case size(UInt64, digits: Int, length: Int)
    /// Behind the size: an extension, which says nothing to us.
    case `extension`(UInt64, length: Int)
    /// The line's end was begun.
    case sizeEnd(UInt64)
    case data(UInt64)
    /// Behind a chunk's data: 0 or 1 bytes of the line's end are there.
    case dataEnd(Int)
    /// In the trailers: the line so far, and the bytes of all.
    case trailer([UInt8], total: Int)
  }

  private var state: State

  public init(_ length: Length) {
    state =
      switch length {
      case .none, .bytes(0): .done
      case .bytes(let count): .counted(count)
      case .chunked: .size(0, digits: 0, length: 0)
      case .untilClose: .open
      }
  }

  public var isComplete: Bool { if case .done = state { true } else { false } }

  /// How many of the bytes, from the first on, belong to the body.
  public mutating func take(_ bytes: UnsafeRawBufferPointer) throws(HTTPError) -> Int {
    var index = 0
    while index < bytes.count {
      switch state {
      case .done: return index
      case .open: return bytes.count
      case .counted(let left):
        let count = min(left, UInt64(bytes.count - index))
        index += Int(count)
        state = count == left ? .done : .counted(left - count)
      case .data(let left):
        let count = min(left, UInt64(bytes.count - index))
        index += Int(count)
        state = count == left ? .dataEnd(0) : .data(left - count)
      default:
        try takeByte(bytes[index])
        index += 1
      }
    }
    return index
  }

  /// The stream ended: a body that lasts until then is complete.
  public mutating func end() throws(HTTPError) {
    switch state {
    case .open, .done: state = .done
    default: throw .truncated
    }
  }

  /// A byte of what stands around the chunks' data.
  private mutating func takeByte(_ byte: UInt8) throws(HTTPError) {
    switch state {
    case .size(let size, let digits, let length):
      if let digit = Self.hexDigit(byte) {
        // Fifteen digits are more than there will ever be, and no sum of them runs over.
        guard digits < 15 else { throw .malformedChunk }
        state = .size(size << 4 | digit, digits: digits + 1, length: length + 1)
        return
      }
      guard digits > 0 else { throw .malformedChunk }
      switch byte {
      case 0x0D: state = .sizeEnd(size)
      case UInt8(ascii: ";"), 0x20, 0x09: state = .extension(size, length: length + 1)
      default: throw .malformedChunk
      }
    case .extension(let size, let length):
      guard length < HTTPLimits.chunkLine else { throw .malformedChunk }
      if byte == 0x0D {
        state = .sizeEnd(size)
      } else {
        guard HTTPText.isValueByte(byte) else { throw .malformedChunk }
        state = .extension(size, length: length + 1)
      }
    case .sizeEnd(let size):
      guard byte == 0x0A else { throw .malformedChunk }
      state = size == 0 ? .trailer([], total: 0) : .data(size)
    case .dataEnd(let seen):
      guard byte == (seen == 0 ? 0x0D : 0x0A) else { throw .malformedChunk }
      state = seen == 0 ? .dataEnd(1) : .size(0, digits: 0, length: 0)
    case .trailer(var line, let total):
      guard total < HTTPLimits.trailers else { throw .malformedChunk }
      // Taken out while it grows, so that it is not copied with every byte.
      state = .done
      line.append(byte)
      guard byte == 0x0A else {
        state = .trailer(line, total: total + 1)
        return
      }
      guard line.count >= 2, line[line.count - 2] == 0x0D else { throw .malformedChunk }
      line.removeLast(2)
      if line.isEmpty { return }
      try Self.checkTrailer(line)
      state = .trailer([], total: total + 1)
    case .done, .counted, .open, .data: return
    }
  }

  /// A trailer is a field, and none that says how long a message is or whose.
  private static func checkTrailer(_ line: [UInt8]) throws(HTTPError) {
    guard let (name, value) = HTTPHeadParser.field(line), value.allSatisfy(HTTPText.isValueByte) else {
      throw .malformedChunk
    }
    for forbidden in ["Content-Length", "Transfer-Encoding", "Host", "Connection"] where HTTPText.same(name, forbidden)
    {
      throw .malformedChunk
    }
  }

  private static func hexDigit(_ byte: UInt8) -> UInt64? {
    switch byte {
    case 0x30...0x39: UInt64(byte - 0x30)
    case 0x41...0x46: UInt64(byte - 0x41 + 10)
    case 0x61...0x66: UInt64(byte - 0x61 + 10)
    default: nil
    }
  }
}

extension HTTPRequestHead {
  /// The body behind this head (RFC 9112, section 6.3).
  public func bodyLength() throws(HTTPError) -> HTTPBody.Length {
    // What stands behind the head of a CONNECT is for the target.
    try HTTPFraming.length(headers, minorVersion, without: .none)
  }
}

extension HTTPResponseHead {
  /// The body behind this head, given the method of the request.
  public func bodyLength(toMethod method: String) throws(HTTPError) -> HTTPBody.Length {
    let length = try HTTPFraming.length(headers, minorVersion, without: .untilClose)
    if method == "HEAD" || status < 200 || status == 204 || status == 304 { return .none }
    return length
  }
}

enum HTTPFraming {
  static func length(
    _ headers: HTTPHeaders, _ minorVersion: Int, without: HTTPBody.Length
  ) throws(HTTPError) -> HTTPBody.Length {
    let encodings = headers["Transfer-Encoding"]
    let lengths = headers["Content-Length"]
    if !encodings.isEmpty {
      guard lengths.isEmpty, minorVersion == 1 else { throw .ambiguousLength }
      guard encodings.count == 1, HTTPText.same(encodings[0].text, "chunked") else { throw .transferEncoding }
      return .chunked
    }
    guard let given = lengths.first?.value else { return without }
    guard lengths.count == 1, (1...18).contains(given.count), given.allSatisfy({ (0x30...0x39).contains($0) }) else {
      throw .ambiguousLength
    }
    return .bytes(given.reduce(0) { $0 * 10 + UInt64($1 - 0x30) })
  }
}
