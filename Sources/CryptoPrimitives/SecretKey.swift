import CBoringSSL

/// 32 bytes that nobody else may know: an X25519 private key, a preshared key, a shared secret, a cipher's key.
///
/// The bytes lie in memory of their own that never moves, so that there is one copy of them, and `deinit` wipes it. The
/// type cannot be copied without saying so, has no description, and is no `Hashable`, `Codable` or `Equatable`: it can
/// neither be printed, nor logged, nor written to a file by accident. Comparing takes the same time for all keys.
///
/// Safety: the memory is allocated and freed with the value, and nobody keeps a pointer into it beyond a closure.
public struct SecretKey: ~Copyable, @unchecked Sendable {
  /// In bytes.
  public static let size = 32

  let bytes: UnsafeMutableRawPointer

  /// All zeros: the preshared key of a peer that has none.
  public init() {
    bytes = .allocate(byteCount: Self.size, alignment: 16)
    bytes.initializeMemory(as: UInt8.self, repeating: 0, count: Self.size)
  }

  /// `nil` when it is not 32 bytes.
  public init?(_ source: UnsafeRawBufferPointer) {
    guard source.count == Self.size, let base = source.baseAddress else { return nil }
    self.init(copying: base)
  }

  /// `nil` when it is not 32 bytes. The array is not wiped.
  public init?(_ source: [UInt8]) {
    guard source.count == Self.size else { return nil }
    self.init()
    let target = UnsafeMutableRawBufferPointer(start: bytes, count: Self.size)
    source.withUnsafeBytes { target.copyMemory(from: $0) }
  }

  init(copying source: UnsafeRawPointer) {
    bytes = .allocate(byteCount: Self.size, alignment: 16)
    bytes.copyMemory(from: source, byteCount: Self.size)
  }

  /// Draws a key. The generator must be one for secrets.
  public init(using random: inout some RandomNumberGenerator) {
    bytes = .allocate(byteCount: Self.size, alignment: 16)
    fillRandom(bytes, Self.size, using: &random)
  }

  deinit {
    culvert_wipe(bytes, Self.size)
    bytes.deallocate()
  }

  /// A second box with the same bytes.
  public borrowing func copy() -> SecretKey { SecretKey(copying: bytes) }

  public borrowing func withUnsafeBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
    try body(UnsafeRawBufferPointer(start: bytes, count: Self.size))
  }

  /// For what computes a key in place.
  public borrowing func withMutableBytes<Result>(
    _ body: (UnsafeMutableRawBufferPointer) throws -> Result
  ) rethrows -> Result {
    try body(UnsafeMutableRawBufferPointer(start: bytes, count: Self.size))
  }

  /// Writes other bytes into the box: 32 of them.
  public borrowing func write(_ source: UnsafeRawBufferPointer) {
    precondition(source.count == Self.size)
    withMutableBytes { $0.copyMemory(from: source) }
  }

  /// Draws other bytes into the box. The generator must be one for secrets.
  public borrowing func draw(using random: inout some RandomNumberGenerator) {
    fillRandom(bytes, Self.size, using: &random)
  }

  /// Overwrites the bytes with zeros.
  public borrowing func wipe() { culvert_wipe(bytes, Self.size) }

  /// Whether two keys are the same, in constant time.
  public static func areEqual(_ left: borrowing SecretKey, _ right: borrowing SecretKey) -> Bool {
    culvert_equal(left.bytes, right.bytes, size) == 1
  }

  /// Whether all bytes are zero, in constant time.
  public var isZero: Bool {
    var sum: UInt64 = 0
    for offset in stride(from: 0, to: Self.size, by: 8) { sum |= bytes.load(fromByteOffset: offset, as: UInt64.self) }
    return sum == 0
  }
}

/// An X25519 public key; it may be known, compared and printed.
public struct PublicKey: Hashable, Sendable {
  /// In bytes.
  public static let size = 32

  private let words: SIMD4<UInt64>

  init(_ source: UnsafeRawPointer) { words = source.loadUnaligned(as: SIMD4<UInt64>.self) }

  /// `nil` when it is not 32 bytes.
  public init?(_ source: UnsafeRawBufferPointer) {
    guard source.count == Self.size, let base = source.baseAddress else { return nil }
    self.init(base)
  }

  /// `nil` when it is not 32 bytes.
  public init?(_ source: [UInt8]) {
    guard let key = source.withUnsafeBytes({ PublicKey($0) }) else { return nil }
    self = key
  }

  public var bytes: [UInt8] { withUnsafeBytes { Array($0) } }

  public func withUnsafeBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
    try Swift.withUnsafeBytes(of: words, body)
  }

  /// Writes the 32 bytes.
  public func store(to target: UnsafeMutableRawPointer) { target.storeBytes(of: words, as: SIMD4<UInt64>.self) }
}

/// Comparing, wiping and drawing of bytes.
public enum Bytes {
  /// Whether two buffers are the same, in a time that depends on their sizes alone.
  public static func areEqual(_ left: UnsafeRawBufferPointer, _ right: UnsafeRawBufferPointer) -> Bool {
    guard left.count == right.count else { return false }
    guard let first = left.baseAddress, let second = right.baseAddress else { return true }
    return culvert_equal(first, second, left.count) == 1
  }

  /// Overwrites with zeros.
  public static func wipe(_ memory: UnsafeMutableRawBufferPointer) {
    if let base = memory.baseAddress { culvert_wipe(base, memory.count) }
  }

  /// Fills with bytes of a generator.
  public static func fill(_ memory: UnsafeMutableRawBufferPointer, using random: inout some RandomNumberGenerator) {
    if let base = memory.baseAddress { fillRandom(base, memory.count, using: &random) }
  }
}

/// Safety: the caller owns `count` bytes.
func fillRandom(_ memory: UnsafeMutableRawPointer, _ count: Int, using random: inout some RandomNumberGenerator) {
  var offset = 0
  while offset < count {
    let word = random.next()
    let part = min(8, count &- offset)
    withUnsafeBytes(of: word) {
      UnsafeMutableRawBufferPointer(start: memory + offset, count: part)
        .copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[..<part]))
    }
    offset &+= part
  }
}
