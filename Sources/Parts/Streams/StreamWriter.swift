import LinuxIO

/// Writes to a stream that may take less than given, keeping the rest in order.
///
/// What the stream does not take at once is copied aside; until it has drained, everything goes behind it. Callers
/// stop producing when `write` answers false, so the rest is at most one batch.
struct StreamWriter {
  private let stream: any ByteStream
  private var rest: [UInt8] = []
  private var offset = 0

  init(stream: any ByteStream) { self.stream = stream }

  /// True when everything went out; false when some of it waits for `drain`.
  mutating func write(_ bytes: UnsafeRawBufferPointer) -> Bool {
    if !rest.isEmpty {
      rest.append(contentsOf: bytes)
      return drain()
    }
    let taken = stream.write(bytes)
    guard taken < bytes.count else { return true }
    rest.append(contentsOf: UnsafeRawBufferPointer(rebasing: bytes[taken...]))
    return false
  }

  /// Tries again; true when nothing is left.
  mutating func drain() -> Bool {
    guard !rest.isEmpty else { return true }
    offset += rest.withUnsafeBytes { stream.write(UnsafeRawBufferPointer(rebasing: $0[offset...])) }
    guard offset >= rest.count else { return false }
    rest.removeAll(keepingCapacity: rest.count <= 256 * 1024)
    offset = 0
    return true
  }

  var pendingBytes: Int { rest.count - offset }
}
