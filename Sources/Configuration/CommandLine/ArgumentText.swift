/// A piece of an argument: its text, and for each byte of it the place where that was typed.
///
/// `%2F` is one byte of text and three of the argument. What is cut out of a piece keeps the places of its bytes, so
/// that a diagnostic about the second address of a comma list marks that address, escapes or not.
struct ArgumentText: Sendable {
  let file: FileID
  let bytes: ArraySlice<UInt8>
  /// Where each byte begins in the argument, and behind them where the last one ends; aligned with `bytes`.
  private let offsets: ArraySlice<Int>

  /// A whole argument as typed.
  init(_ bytes: [UInt8], in file: FileID) {
    self.file = file
    self.bytes = bytes[...]
    offsets = Array(0...bytes.count)[...]
  }

  private init(file: FileID, bytes: ArraySlice<UInt8>, offsets: ArraySlice<Int>) {
    self.file = file
    self.bytes = bytes
    self.offsets = offsets
  }

  var text: String { String(decoding: bytes, as: UTF8.self) }

  var isEmpty: Bool { bytes.isEmpty }

  var span: SourceSpan {
    SourceSpan(file: file, start: offsets.first ?? 0, end: offsets.last ?? 0)
  }

  var located: Located<String> { Located(text, at: span) }

  /// The piece between two indices of `bytes`, clamped.
  subscript(_ range: Range<Int>) -> ArgumentText {
    let range = range.clamped(to: bytes.startIndex..<bytes.endIndex)
    // `offsets` begins at the same index as `bytes` and has one more.
    return ArgumentText(
      file: file, bytes: bytes[range], offsets: offsets[range.lowerBound..<range.upperBound + 1])
  }

  func prefix(upTo index: Int) -> ArgumentText { self[bytes.startIndex..<max(bytes.startIndex, index)] }

  func suffix(from index: Int) -> ArgumentText { self[min(index, bytes.endIndex)..<bytes.endIndex] }

  func firstIndex(of byte: Character) -> Int? {
    byte.asciiValue.flatMap { bytes.firstIndex(of: $0) }
  }

  func lastIndex(of byte: Character) -> Int? {
    byte.asciiValue.flatMap { bytes.lastIndex(of: $0) }
  }

  func hasPrefix(_ text: String) -> Bool { bytes.starts(with: text.utf8) }

  /// Where a text begins.
  func firstIndex(of text: String) -> Int? {
    let wanted = Array(text.utf8)
    guard let first = wanted.first else { return nil }
    var index = bytes.startIndex
    while let next = bytes[index...].firstIndex(of: first) {
      if bytes[next...].starts(with: wanted) { return next }
      index = next + 1
    }
    return nil
  }

  /// The pieces between separators, empty ones too.
  func split(on separator: Character) -> [ArgumentText] {
    var pieces: [ArgumentText] = []
    var start = bytes.startIndex
    while let end = separator.asciiValue.flatMap({ bytes[start...].firstIndex(of: $0) }) {
      pieces.append(self[start..<end])
      start = end + 1
    }
    pieces.append(suffix(from: start))
    return pieces
  }

  /// The pieces of a comma list that hold something.
  var items: [ArgumentText] { split(on: ",").filter { !$0.isEmpty } }

  /// Without what `isLeftOut` says at either end.
  func trimmed(_ isLeftOut: (UInt8) -> Bool) -> ArgumentText {
    guard let start = bytes.firstIndex(where: { !isLeftOut($0) }),
      let end = bytes.lastIndex(where: { !isLeftOut($0) })
    else { return prefix(upTo: bytes.startIndex) }
    return self[start..<end + 1]
  }

  /// With `%XX` decoded, in a query `+` as a space; `nil` with the place of an escape that is none.
  func decoded(inQuery: Bool) -> (text: ArgumentText?, fault: SourceSpan?) {
    var decoded: [UInt8] = []
    var places: [Int] = []
    decoded.reserveCapacity(bytes.count)
    places.reserveCapacity(bytes.count + 1)
    var index = bytes.startIndex
    while index < bytes.endIndex {
      places.append(offsets[index])
      let byte = bytes[index]
      if byte == UInt8(ascii: "%") {
        guard index + 2 < bytes.endIndex, let high = Self.digit(bytes[index + 1]),
          let low = Self.digit(bytes[index + 2])
        else { return (nil, self[index..<min(index + 3, bytes.endIndex)].span) }
        decoded.append(high << 4 | low)
        index += 3
      } else {
        decoded.append(inQuery && byte == UInt8(ascii: "+") ? UInt8(ascii: " ") : byte)
        index += 1
      }
    }
    places.append(offsets.last ?? 0)
    return (ArgumentText(file: file, bytes: decoded[...], offsets: places[...]), nil)
  }

  private static func digit(_ byte: UInt8) -> UInt8? {
    switch byte {
    case 0x30...0x39: byte - 0x30
    case 0x41...0x46: byte - 0x41 + 10
    case 0x61...0x66: byte - 0x61 + 10
    default: nil
    }
  }
}
