/// Bytes read as choices: each call takes what it needs from the front, and zeros when nothing is left, so that every
/// input means something.
struct Feed {
  private(set) var rest: UnsafeRawBufferPointer

  init(_ bytes: UnsafeRawBufferPointer) { rest = bytes }

  var isEmpty: Bool { rest.isEmpty }

  mutating func byte() -> UInt8 {
    guard let first = rest.first else { return 0 }
    rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst())
    return first
  }

  mutating func number16() -> Int { Int(byte()) << 8 | Int(byte()) }

  mutating func number32() -> UInt32 { UInt32(number16()) << 16 | UInt32(number16()) }

  /// At most `count` bytes.
  mutating func bytes(_ count: Int) -> [UInt8] {
    let taken = Array(rest.prefix(count))
    rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst(taken.count))
    return taken
  }

  mutating func all() -> [UInt8] { bytes(rest.count) }
}

/// Hands bytes out in memory of exactly their size, so that a sanitiser sees a read of one byte too many. An array
/// has room behind its end.
func exactly<Result>(
  _ bytes: some Collection<UInt8>, _ body: (UnsafeMutableRawBufferPointer) throws(Breach) -> Result
) throws(Breach) -> Result {
  let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
  defer { copy.deallocate() }
  copy.copyBytes(from: bytes)
  return try body(copy)
}

/// Cuts a stream into pieces whose sizes are given, over and over; a size of 0 is everything that is left.
func pieces(_ stream: [UInt8], sizes: [UInt8]) -> [ArraySlice<UInt8>] {
  var result: [ArraySlice<UInt8>] = []
  var start = 0
  var turn = 0
  while start < stream.count {
    let size = sizes.isEmpty ? 0 : Int(sizes[turn % sizes.count])
    let end = size == 0 ? stream.count : min(stream.count, start + size)
    result.append(stream[start..<end])
    start = end
    turn += 1
  }
  return result
}
