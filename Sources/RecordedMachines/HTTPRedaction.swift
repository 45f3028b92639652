import Recording

/// Takes out of a head of HTTP what is not the protocol's.
///
/// What stays: the method, the version, status and reason, the scheme and the authority of a target without its user,
/// the names of all fields, and the values of those that say how the connection goes on. Everything else keeps its
/// length and its blanks: an `x` for each byte. So passwords, cookies, tokens in fields of any name, paths and queries
/// are gone, and the head is read as before. A path that a WebSocket is served on is a name in the file and stays; its
/// query does not.
///
/// A line that has not come whole is covered as far as nobody can tell what it will be.
enum HTTPRedaction {
  /// A value of more bytes is none of those that stay.
  private static let longestValue = 300

  /// Fields whose values stay.
  private static let kept: Set<String> = [
    "host", "connection", "proxy-connection", "keep-alive", "upgrade", "te", "content-length", "transfer-encoding",
    "sec-websocket-version", "sec-websocket-key", "sec-websocket-accept", "sec-websocket-extensions",
    "x-gost-protocol", "proxy-agent", "proxy-authenticate", "server", "date", "allow",
  ]

  static func head(_ bytes: UnsafeRawBufferPointer, keepsPath: Bool) -> [UInt8] {
    var result = Array(bytes)
    var start = 0
    var isFirst = true
    while start < result.count {
      let end = result[start...].firstIndex(of: 0x0A)
      let line = start..<(end ?? result.count)
      let isEmpty = line.isEmpty || (line.count == 1 && result[line.lowerBound] == 0x0D)
      if isFirst {
        // Empty lines may stand in front.
        if !isEmpty {
          startLine(&result, line, isWhole: end != nil, keepsPath)
          isFirst = false
        }
      } else if isEmpty, end != nil {
        // What follows is the body.
        coverAll(&result, (line.upperBound + 1)..<result.count)
        return result
      } else {
        field(&result, line)
      }
      guard let end else { break }
      start = end + 1
    }
    return result
  }

  // MARK: The first line

  private static func startLine(_ bytes: inout [UInt8], _ line: Range<Int>, isWhole: Bool, _ keepsPath: Bool) {
    if bytes[line].starts(with: "HTTP/".utf8) { return }
    guard let space = bytes[line].firstIndex(of: 0x20) else {
      // A method, or no HTTP at all.
      cover(&bytes, min(line.lowerBound + 16, line.upperBound)..<line.upperBound)
      return
    }
    cover(&bytes, min(line.lowerBound + 32, space)..<space)
    let rest = (space + 1)..<line.upperBound
    guard let next = bytes[rest].firstIndex(of: 0x20) else {
      cover(&bytes, rest)
      return
    }
    let isConnect = bytes[line.lowerBound..<space].elementsEqual("CONNECT".utf8)
    target(&bytes, rest.lowerBound..<next, isConnect: isConnect, keepsPath)
    let version = (next + 1)..<line.upperBound
    if !bytes[version].starts(with: "HTTP/".utf8) { cover(&bytes, version) }
  }

  private static func target(_ bytes: inout [UInt8], _ target: Range<Int>, isConnect: Bool, _ keepsPath: Bool) {
    if bytes[target].first == UInt8(ascii: "/") {
      path(&bytes, target, keepsPath)
    } else if isConnect {
      authority(&bytes, target)
    } else if let scheme = bytes[target].firstRange(of: Array("://".utf8)) {
      let rest = scheme.upperBound..<target.upperBound
      let end = bytes[rest].firstIndex { "/?#".utf8.contains($0) } ?? rest.upperBound
      authority(&bytes, rest.lowerBound..<end)
      path(&bytes, end..<rest.upperBound, keepsPath)
    } else {
      cover(&bytes, target)
    }
  }

  private static func authority(_ bytes: inout [UInt8], _ range: Range<Int>) {
    if let at = bytes[range].lastIndex(of: UInt8(ascii: "@")) { cover(&bytes, range.lowerBound..<at) }
  }

  private static func path(_ bytes: inout [UInt8], _ range: Range<Int>, _ keepsPath: Bool) {
    let query = bytes[range].firstIndex { "?#".utf8.contains($0) } ?? range.upperBound
    cover(&bytes, (keepsPath ? query : range.lowerBound)..<range.upperBound)
  }

  // MARK: Fields

  private static func field(_ bytes: inout [UInt8], _ line: Range<Int>) {
    guard let colon = bytes[line].firstIndex(of: UInt8(ascii: ":")), let first = bytes[line].first, first > 0x20 else {
      cover(&bytes, line)
      return
    }
    let name = String(decoding: bytes[line.lowerBound..<colon], as: UTF8.self).lowercased()
    let value = (colon + 1)..<line.upperBound
    // A control character other than the line's own end: two lines that were to be one, or no field at all.
    let isOne = value.count <= longestValue && !bytes[value].dropLast().contains { $0 < 0x20 && $0 != 0x09 }
    if !kept.contains(name) || !isOne { coverValue(&bytes, value) }
  }

  /// A field's value, when it stands alone.
  static func value(_ value: String, of name: String) -> String {
    guard !kept.contains(name.lowercased()) else { return value }
    var bytes = Array(value.utf8)
    coverValue(&bytes, 0..<bytes.count)
    return String(decoding: bytes, as: UTF8.self)
  }

  // MARK: Covers

  /// Everything visible.
  static func coverValue(_ bytes: inout [UInt8], _ range: Range<Int>) {
    for index in range where bytes[index] > 0x20 && bytes[index] != 0x7F { bytes[index] = UInt8(ascii: "x") }
  }

  /// Letters and digits: what is left is of the same kind everywhere.
  private static func cover(_ bytes: inout [UInt8], _ range: Range<Int>) {
    for index in range {
      switch bytes[index] {
      case 0x30...0x39, 0x41...0x5A, 0x61...0x7A: bytes[index] = UInt8(ascii: "x")
      case 0x80...: bytes[index] = 0x80
      default: break
      }
    }
  }

  private static func coverAll(_ bytes: inout [UInt8], _ range: Range<Int>) {
    for index in range { bytes[index] = 0 }
  }
}
