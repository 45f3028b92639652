/// What the tests of the protocols share: bytes from hex, transcripts of captures, splits, and a seeded generator.

/// Bytes from hex digits; blanks and `|` are for the eye.
func hex(_ text: some StringProtocol) -> [UInt8] {
  let digits = text.utf8.compactMap { byte -> UInt8? in
    switch byte {
    case 0x30...0x39: byte - 0x30
    case 0x61...0x66: byte - 0x61 + 10
    default: nil
    }
  }
  return stride(from: 0, to: digits.count - 1, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
}

/// SplitMix64: small, and the same on every machine, so that a seed in a failure is enough to repeat it.
struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64

  init(_ seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var word = state
    word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
    word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
    return word ^ (word >> 31)
  }

  mutating func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8.random(in: 0...255, using: &self) } }

  mutating func chance(_ one: Int) -> Bool { Int.random(in: 0..<one, using: &self) == 0 }
}

/// A conversation as it crossed the wire.
///
/// Each line is one message or TCP segment in hex: `>` from the client, `<` from the server; lines that begin with a
/// blank go on with the one above. `file*200` stands for 200 times the line of the file that was downloaded. `#`
/// begins another connection. `=` is the answer of the server's kernel to the client's last echo request: the same
/// bytes with another type; only its checksum and the identifier and sequence it answers are kept.
struct Transcript: Sendable {
  enum Side: Sendable {
    case client, server, kernel
  }

  struct Message: Sendable {
    var side: Side
    var bytes: [UInt8]
  }

  /// For each connection the messages in order.
  let connections: [[Message]]

  init(_ text: String) {
    var connections: [[Message]] = [[]]
    for line in text.split(separator: "\n") {
      let mark = line.first
      let bytes = Self.bytes(line.dropFirst())
      switch mark {
      case "#": connections.append([])
      case ">": connections[connections.count - 1].append(Message(side: .client, bytes: bytes))
      case "<": connections[connections.count - 1].append(Message(side: .server, bytes: bytes))
      case "=":
        let request = connections[connections.count - 1].last {
          $0.side == .client && Array($0.bytes[4..<8]) == Array(bytes[2..<6])
        }
        guard var reflection = request?.bytes else { continue }
        reflection[0] = reflection[0] == 8 ? 0 : 129
        reflection.replaceSubrange(2..<4, with: bytes[0..<2])
        connections[connections.count - 1].append(Message(side: .kernel, bytes: reflection))
      default:
        let connection = connections.count - 1
        connections[connection][connections[connection].count - 1].bytes += bytes
      }
    }
    self.connections = connections
  }

  /// All bytes of a side, of one connection.
  func stream(_ side: Side, connection: Int = 0) -> [UInt8] {
    connections[connection].filter { $0.side == side }.flatMap(\.bytes)
  }

  func messages(_ side: Side) -> [[UInt8]] { connections.joined().filter { $0.side == side }.map(\.bytes) }

  private static func bytes(_ line: Substring) -> [UInt8] {
    line.split(separator: " ").flatMap { word in
      guard word.hasPrefix("file*"), let count = Int(word.dropFirst(5)) else { return hex(word) }
      return Array(repeatElement(Array("hello from the file\n".utf8), count: count).joined())
    }
  }
}

/// Ways to cut a stream into reads: at once, byte by byte, and sizes drawn from a seed.
func splits(_ bytes: [UInt8], seeds: ClosedRange<UInt64> = 1...20) -> [[ArraySlice<UInt8>]] {
  var ways = [[bytes[...]], bytes.indices.map { bytes[$0...$0] }]
  for seed in seeds {
    var random = SeededGenerator(seed)
    var way: [ArraySlice<UInt8>] = []
    var start = 0
    while start < bytes.count {
      let end = min(bytes.count, start + Int.random(in: 1...(random.chance(4) ? 2_000 : 9), using: &random))
      way.append(bytes[start..<end])
      start = end
    }
    ways.append(way)
  }
  return ways
}

/// Every truncation of the bytes, then every byte replaced by a few telling values and by a random one.
func mutilations(_ bytes: [UInt8], seed: UInt64 = 7) -> [[UInt8]] {
  var random = SeededGenerator(seed)
  var all = (0...bytes.count).map { Array(bytes[..<$0]) }
  for index in bytes.indices {
    for value in [0x00, 0x01, 0x7F, 0x80, 0xFF, bytes[index] ^ 0x10, UInt8.random(in: 0...255, using: &random)] {
      var other = bytes
      other[index] = value
      all.append(other)
    }
    var shorter = bytes
    shorter.remove(at: index)
    all.append(shorter)
    var longer = bytes
    longer.insert(0xFF, at: index)
    all.append(longer)
  }
  return all
}
