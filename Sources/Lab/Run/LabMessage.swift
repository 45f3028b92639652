import Glibc
import Values

/// What the lab and its hosts say to each other: a list of texts, each with its length, over a local socket.
///
/// The lab sends a verb and its arguments; the host answers with one message that begins with `ok` or `error`, after
/// any number that begin with `step`. Both ends are this program, so a message that does not parse ends the talk.
struct LabMessage {
  var words: [String]

  init(_ words: [String]) { self.words = words }

  var verb: String { words.first ?? "" }

  /// The word at a place, empty past the end.
  subscript(index: Int) -> String { words.indices.contains(index) ? words[index] : "" }

  static let maximumSize = 16 << 20
}

/// One end of the talk; blocking, with deadlines.
final class LabChannel {
  let descriptor: Int32
  private var received: [UInt8] = []

  enum Failure: Error {
    case closed
    case timedOut
    case interrupted
  }

  init(descriptor: Int32) { self.descriptor = descriptor }

  deinit { close(descriptor) }

  func send(_ message: LabMessage) throws {
    var body: [UInt8] = []
    for word in message.words {
      let bytes = Array(word.utf8)
      body.append(bigEndian: UInt32(truncatingIfNeeded: bytes.count))
      body += bytes
    }
    var packet: [UInt8] = []
    packet.append(bigEndian: UInt32(truncatingIfNeeded: body.count))
    packet += body
    var sent = 0
    while sent < packet.count {
      let count = packet[sent...].withUnsafeBytes {
        Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
      }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { throw Failure.closed }
      sent += count
    }
  }

  /// The next message. `interrupt` is a descriptor whose readiness ends the wait (a signal), -1 for none.
  func receive(until deadline: Instant, interrupt: Int32 = -1) throws -> LabMessage {
    while true {
      if let message = try next() { return message }
      let left = deadline - Clock.now
      guard left > .zero else { throw Failure.timedOut }
      var waits = [
        pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0),
        pollfd(fd: interrupt, events: Int16(POLLIN), revents: 0),
      ]
      let ready = poll(&waits, nfds_t(waits.count), Int32(clamping: left.nanoseconds / 1_000_000 + 1))
      if ready < 0, errno != EINTR { throw Failure.closed }
      if waits[1].revents != 0 { throw Failure.interrupted }
      guard waits[0].revents != 0 else { continue }
      var chunk = [UInt8](repeating: 0, count: 1 << 16)
      let count = recv(descriptor, &chunk, chunk.count, 0)
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { throw Failure.closed }
      received += chunk.prefix(count)
    }
  }

  /// Takes a whole message off what was received.
  private func next() throws -> LabMessage? {
    let message: (words: [String], size: Int)? = try received.withUnsafeBytes { bytes in
      var reader = ByteReader(bytes)
      guard let size = reader.readUInt32() else { return nil }
      guard size <= LabMessage.maximumSize else { throw Failure.closed }
      guard let body = reader.readBytes(Int(size)) else { return nil }
      var inside = ByteReader(body)
      var words: [String] = []
      while inside.remaining > 0 {
        guard let length = inside.readUInt32(), let word = inside.readBytes(Int(length)) else { throw Failure.closed }
        words.append(String(decoding: word, as: UTF8.self))
      }
      return (words, 4 + Int(size))
    }
    guard let message else { return nil }
    received.removeFirst(message.size)
    return LabMessage(message.words)
  }
}

/// The monotonic clock of the machine.
enum Clock {
  static var now: Instant {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Instant(nanoseconds: Int64(time.tv_sec) &* 1_000_000_000 &+ Int64(time.tv_nsec))
  }
}
