/// The frames of smux, the multiplexer that GOST runs over TCP, TLS and WebSocket: eight bytes, then the payload.
///
/// ```
/// VERSION u8 | COMMAND u8 | LENGTH u16 LE | STREAM u32 LE | payload
/// ```
///
/// The version is the same in every frame of a session and is not negotiated: both ends are told. Only `push` and
/// `update` have a payload.
struct SmuxFrame: Equatable {
  /// The header's size in bytes.
  static let headerSize = 8
  /// The payload of an `update`: bytes consumed u32 LE, window u32 LE.
  static let updateSize = 8

  var version: UInt8
  var command: UInt8
  /// Bytes of payload, 0...65535.
  var length: Int
  var stream: UInt32

  init(version: UInt8, command: SmuxCommand, length: Int = 0, stream: UInt32) {
    self.version = version
    self.command = command.rawValue
    self.length = length
    self.stream = stream
  }

  /// The eight bytes as one little-endian word.
  init(word: UInt64) {
    version = UInt8(truncatingIfNeeded: word)
    command = UInt8(truncatingIfNeeded: word >> 8)
    length = Int(UInt16(truncatingIfNeeded: word >> 16))
    stream = UInt32(truncatingIfNeeded: word >> 32)
  }

  var word: UInt64 {
    UInt64(version) | UInt64(command) << 8 | UInt64(UInt16(truncatingIfNeeded: length)) << 16 | UInt64(stream) << 32
  }
}

enum SmuxCommand: UInt8 {
  /// SYN: the sender opens a stream.
  case open = 0
  /// FIN: the sender is done with a stream.
  case finish = 1
  /// PSH: data.
  case push = 2
  /// NOP: a sign of life, for no stream.
  case idle = 3
  /// UPD, version 2: how much was read of a stream, and how much may be under way.
  case update = 4
}

/// Versions of the protocol. The second adds a window to each stream, so that one that is not read does not hold up
/// the others.
public enum SmuxVersion: Int, Sendable, CaseIterable {
  case one = 1
  case two = 2
}

/// Why a session ended.
public enum SmuxError: Error, Hashable, Sendable {
  /// The first byte of a frame is not our version.
  case version(UInt8, expected: UInt8)
  case unknownCommand(UInt8)
  /// A frame with a payload where there is none, or of another size.
  case length(command: UInt8, UInt16)
  /// A stream was opened under a number that only our end gives out, or under 0.
  case foreignStream(UInt32)
  /// A stream was opened that is open.
  case streamReopened(UInt32)
  /// More is under way on a stream than its window allows.
  case windowExceeded(stream: UInt32)
  /// The other end claims to have read more of a stream than it was sent.
  case consumedTooMuch(stream: UInt32)
  /// Nothing arrived for longer than the keepalive's timeout.
  case silent

  public enum Blame: Sendable {
    case peer, network, configuration
  }

  public var blame: Blame {
    switch self {
    case .version(let found, _): (1...2).contains(found) ? .configuration : .peer
    case .foreignStream: .configuration
    case .silent: .network
    case .unknownCommand, .length, .streamReopened, .windowExceeded, .consumedTooMuch: .peer
    }
  }
}

extension SmuxError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .version(let found, let expected) where (1...2).contains(found):
      "the other end speaks smux version \(found), this one is set to version \(expected)"
    case .version(let found, _): "the other end does not speak smux: a frame begins with byte \(found)"
    case .unknownCommand(let command): "the other end sent a frame of unknown command \(command)"
    case .length(let command, let length): "the other end sent command \(command) with \(length) bytes of payload"
    case .foreignStream(let stream):
      "the other end opened stream \(stream), a number of this end's: are both ends client or both server of the mux?"
    case .streamReopened(let stream): "the other end opened stream \(stream) a second time"
    case .windowExceeded(let stream): "the other end sent more on stream \(stream) than its window allows"
    case .consumedTooMuch(let stream): "the other end claims to have read more of stream \(stream) than it was sent"
    case .silent: "nothing came from the other end of the mux, not even its keepalive"
    }
  }
}
