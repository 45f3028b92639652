import Recording

/// Takes what a user typed out of a message's bytes: an `x` for each.
struct StandIn {
  private(set) var bytes: [UInt8]
  /// The next byte that was not looked at.
  private(set) var index = 0

  init(_ bytes: UnsafeRawBufferPointer) { self.bytes = Array(bytes) }

  var remaining: Int { bytes.count - index }

  /// The next byte, which stays; `nil` behind the last.
  mutating func keep() -> UInt8? {
    guard index < bytes.count else { return nil }
    defer { index += 1 }
    return bytes[index]
  }

  /// The next bytes, as many of them as are there, stay.
  mutating func keep(_ count: Int) { index = min(bytes.count, index + max(0, count)) }

  /// They do not.
  mutating func cover(_ count: Int) {
    let end = min(bytes.count, index + max(0, count))
    while index < end {
      bytes[index] = UInt8(ascii: "x")
      index += 1
    }
  }

  mutating func coverRest() { cover(remaining) }

  /// The next byte as the length of what follows; both as far as they are there.
  mutating func coverCounted() {
    if let count = keep() { cover(Int(count)) }
  }
}
