import Values

/// One line of a recording while it is written: a JSON object whose members stand in the order of writing.
///
/// The same values always give the same bytes, which is what a replay compares. Texts and bytes pass the veil.
public struct RecordLine {
  public private(set) var bytes: [UInt8] = []
  private var needsComma = false
  private var veil = Veil()

  init() {}

  mutating func begin(_ veil: Veil) {
    self.veil = veil
    bytes.removeAll(keepingCapacity: true)
    bytes.append(UInt8(ascii: "{"))
    needsComma = false
  }

  mutating func finish() {
    bytes.append(UInt8(ascii: "}"))
    bytes.append(0x0A)
  }

  public mutating func number(_ name: String, _ value: some BinaryInteger) {
    key(name)
    bytes += String(value).utf8
  }

  public mutating func flag(_ name: String, _ value: Bool) {
    key(name)
    bytes += (value ? "true" : "false").utf8
  }

  public mutating func text(_ name: String, _ value: String) {
    key(name)
    quote(value)
  }

  public mutating func texts(_ name: String, _ values: [String]) {
    key(name)
    separated(values) { $0.quote($1) }
  }

  public mutating func numbers(_ name: String, _ values: some Sequence<Int>) {
    key(name)
    separated(values) { $0.bytes += String($1).utf8 }
  }

  /// Bytes: as text where all of them are, otherwise under the name with `.hex` behind it.
  public mutating func data(_ name: String, _ value: [UInt8]) {
    var value = value
    veil.cover(&value)
    if value.allSatisfy(Self.isPlain) {
      key(name)
      quote(String(decoding: value, as: UTF8.self))
    } else {
      key(name + ".hex")
      bytes.append(UInt8(ascii: "\""))
      for byte in value { hex(byte) }
      bytes.append(UInt8(ascii: "\""))
    }
  }

  /// Runs of bytes, some of which are left out: `0102 *1400 0a`.
  public mutating func shape(_ name: String, _ shape: ByteShape) {
    key(name)
    bytes.append(UInt8(ascii: "\""))
    var isFirst = true
    for run in shape.runs {
      if !isFirst { bytes.append(0x20) }
      isFirst = false
      switch run {
      case .kept(var kept):
        veil.cover(&kept)
        for byte in kept { hex(byte) }
      case .left(let count):
        bytes.append(UInt8(ascii: "*"))
        bytes += String(count).utf8
      }
    }
    bytes.append(UInt8(ascii: "\""))
  }

  public mutating func object(_ name: String, _ members: (inout RecordLine) -> Void) {
    key(name)
    bytes.append(UInt8(ascii: "{"))
    needsComma = false
    members(&self)
    bytes.append(UInt8(ascii: "}"))
    needsComma = true
  }

  /// Nothing at all where there are no members.
  mutating func objectIfAny(_ name: String, _ members: (inout RecordLine) -> Void) {
    let before = (bytes.count, needsComma)
    object(name, members)
    guard bytes.last == UInt8(ascii: "}"), bytes[bytes.count - 2] == UInt8(ascii: "{") else { return }
    bytes.removeLast(bytes.count - before.0)
    needsComma = before.1
  }

  // MARK: Times

  /// A point of time that may be none.
  public mutating func instant(_ name: String, _ value: Instant?) {
    guard let value else { return }
    if value.nanoseconds == .min { text(name, "now") } else { number(name, value.nanoseconds) }
  }

  public mutating func span(_ name: String, _ value: TimeSpan?) {
    if let value { number(name, value.nanoseconds) }
  }

  // MARK: Pieces

  private mutating func key(_ name: String) {
    if needsComma { bytes.append(UInt8(ascii: ",")) }
    needsComma = true
    bytes.append(UInt8(ascii: "\""))
    bytes += name.utf8
    bytes.append(UInt8(ascii: "\""))
    bytes.append(UInt8(ascii: ":"))
  }

  private mutating func separated<Value>(
    _ values: some Sequence<Value>, _ write: (inout RecordLine, Value) -> Void
  ) {
    bytes.append(UInt8(ascii: "["))
    var isFirst = true
    for value in values {
      if !isFirst { bytes.append(UInt8(ascii: ",")) }
      isFirst = false
      write(&self, value)
    }
    bytes.append(UInt8(ascii: "]"))
  }

  private mutating func quote(_ value: String) {
    var utf8 = Array(value.utf8)
    veil.cover(&utf8)
    bytes.append(UInt8(ascii: "\""))
    for byte in utf8 {
      switch byte {
      case UInt8(ascii: "\""), UInt8(ascii: "\\"):
        bytes.append(UInt8(ascii: "\\"))
        bytes.append(byte)
      case 0x0A: bytes += [UInt8(ascii: "\\"), UInt8(ascii: "n")]
      case 0x0D: bytes += [UInt8(ascii: "\\"), UInt8(ascii: "r")]
      case 0x09: bytes += [UInt8(ascii: "\\"), UInt8(ascii: "t")]
      case ..<0x20, 0x7F:
        bytes += "\\u00".utf8
        hex(byte)
      default: bytes.append(byte)
      }
    }
    bytes.append(UInt8(ascii: "\""))
  }

  private static let digits = Array("0123456789abcdef".utf8)

  private mutating func hex(_ byte: UInt8) {
    bytes.append(Self.digits[Int(byte >> 4)])
    bytes.append(Self.digits[Int(byte & 15)])
  }

  private static func isPlain(_ byte: UInt8) -> Bool {
    (0x20...0x7E).contains(byte) || byte == 0x0D || byte == 0x0A || byte == 0x09
  }
}

/// Bytes of which some are kept and of others only the number: what a frame's header says and how much it carries.
public struct ByteShape: Equatable, Sendable {
  public enum Run: Equatable, Sendable {
    case kept([UInt8])
    case left(Int)
  }

  public private(set) var runs: [Run] = []

  public init() {}

  public var count: Int {
    runs.reduce(0) { sum, run in
      switch run {
      case .kept(let bytes): sum + bytes.count
      case .left(let count): sum + count
      }
    }
  }

  public mutating func keep(_ bytes: some Sequence<UInt8>) {
    for byte in bytes { keep(byte) }
  }

  public mutating func keep(_ byte: UInt8) {
    if case .kept(var kept)? = runs.last {
      runs.removeLast()
      kept.append(byte)
      runs.append(.kept(kept))
    } else {
      runs.append(.kept([byte]))
    }
  }

  public mutating func leave(_ count: Int) {
    guard count > 0 else { return }
    if case .left(let before)? = runs.last {
      runs[runs.count - 1] = .left(before + count)
    } else {
      runs.append(.left(count))
    }
  }

  /// The bytes with zeros for those that were left out.
  public var bytes: [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(count)
    for run in runs {
      switch run {
      case .kept(let kept): bytes += kept
      case .left(let count): bytes.append(contentsOf: repeatElement(0, count: count))
      }
    }
    return bytes
  }
}
