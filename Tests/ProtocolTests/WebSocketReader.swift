import Testing
import Values

@testable import WebSocket

/// An end for the tests: takes bytes in any pieces, each in memory of its own as a stream's owner hands it in.
struct WebSocketReader {
  private var receiver: WebSocketReceiver
  private(set) var payload: [UInt8] = []
  private(set) var pings: [[UInt8]] = []

  init(_ role: WebSocketReceiver.Role) { receiver = WebSocketReceiver(role: role) }

  var close: WebSocketReceiver.Close? { receiver.close }
  var isAtBoundary: Bool { receiver.isAtBoundary }

  mutating func read(_ bytes: some Collection<UInt8>) throws(WebSocketError) {
    // At an odd address, with room of exactly its size.
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count + 1, alignment: 64)
    defer { memory.deallocate() }
    let place = UnsafeMutableRawBufferPointer(rebasing: memory[1...])
    place.copyBytes(from: bytes)
    payload += place[..<(try receiver.receive(place))]
    if let ping = receiver.takePing() { pings.append(ping) }
  }
}

/// What a reader makes of a stream that comes at once.
func webSocketReading(
  _ bytes: [UInt8], _ role: WebSocketReceiver.Role
) -> Result<WebSocketReader, WebSocketError> {
  var reader = WebSocketReader(role)
  do throws(WebSocketError) {
    try reader.read(bytes)
    return .success(reader)
  } catch { return .failure(error) }
}

/// The error that a stream ends with; `nil` when all of it is fine.
func webSocketError(_ bytes: [UInt8], _ role: WebSocketReceiver.Role) -> WebSocketError? {
  if case .failure(let error) = webSocketReading(bytes, role) { error } else { nil }
}

/// One frame of ours.
func webSocketFrame(_ kind: WebSocketFrame.Kind, _ payload: [UInt8], mask: UInt32? = nil) -> [UInt8] {
  var space = [UInt8](repeating: 0xA5, count: payload.count + WebSocketFrame.maximumHeaderSize)
  let count = space.withUnsafeMutableBytes { space in
    payload.withUnsafeBytes { WebSocketFrame.write(kind, $0, mask: mask, into: space) }
  }
  return Array(space[..<count])
}

/// SHA-1 (FIPS 180-4, section 6.1) as slowly as it is written there; what the handshake has handed in.
func slowSHA1(_ message: [UInt8]) -> [UInt8] {
  var padded = message + [0x80]
  while padded.count % 64 != 56 { padded.append(0) }
  padded.append(bigEndian: UInt64(message.count) * 8)
  var hash: [UInt32] = [0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476, 0xC3D2_E1F0]
  let turn = { (word: UInt32, count: UInt32) in word << count | word >> (32 - count) }
  for block in stride(from: 0, to: padded.count, by: 64) {
    var words = (0..<16).map { index in
      padded[(block + 4 * index)..<(block + 4 * index + 4)].reduce(0) { $0 << 8 | UInt32($1) }
    }
    for index in 16..<80 {
      words.append(turn(words[index - 3] ^ words[index - 8] ^ words[index - 14] ^ words[index - 16], 1))
    }
    var (a, b, c, d, e) = (hash[0], hash[1], hash[2], hash[3], hash[4])
    for (index, word) in words.enumerated() {
      let (mixed, constant): (UInt32, UInt32) =
        switch index / 20 {
        case 0: (b & c | ~b & d, 0x5A82_7999)
        case 1: (b ^ c ^ d, 0x6ED9_EBA1)
        case 2: (b & c | b & d | c & d, 0x8F1B_BCDC)
        default: (b ^ c ^ d, 0xCA62_C1D6)
        }
      (a, b, c, d, e) = (turn(a, 5) &+ mixed &+ e &+ constant &+ word, a, turn(b, 30), c, d)
    }
    hash = zip(hash, [a, b, c, d, e]).map { $0 &+ $1 }
  }
  return hash.flatMap { word in stride(from: 24, through: 0, by: -8).map { UInt8(truncatingIfNeeded: word >> $0) } }
}
