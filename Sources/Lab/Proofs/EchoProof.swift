import Glibc
import Values

/// Ping by hand: ICMP echo through whatever way the host's routes give it.
///
/// First comes a wait: requests leave every 100 ms until the first answer, because a tunnel takes a moment to come up
/// and that moment is worth a number of its own. Then the counted requests, 50 ms apart, each with a second for its
/// answer.
struct EchoProof {
  struct Outcome {
    var sent = 0
    var received = 0
    /// Round trips in milliseconds.
    var minimum = 0.0
    var average = 0.0
    var maximum = 0.0
    /// From the first request to the first answer, in seconds; `nil` when none came.
    var firstAnswer: Double?
  }

  let target: IPAddress
  private let descriptor: Int32
  private let identifier: UInt16

  init(to target: IPAddress) throws(Launch.Failure) {
    self.target = target
    identifier = UInt16.random(in: 1...UInt16.max)
    let isIPv4 = target.family == .ipv4
    descriptor = socket(
      isIPv4 ? AF_INET : AF_INET6, Int32(SOCK_RAW.rawValue) | Int32(SOCK_CLOEXEC.rawValue), isIPv4 ? 1 : 58)
    if descriptor < 0 { throw Launch.Failure(attempt: "open a raw socket", code: errno) }
  }

  func run(count: Int, patience: TimeSpan) -> Outcome {
    defer { close(descriptor) }
    var outcome = Outcome()
    let start = Clock.now
    var sequence: UInt16 = 0
    while outcome.firstAnswer == nil, Clock.now - start < patience {
      sequence &+= 1
      send(sequence)
      let pause = Clock.now + .milliseconds(100)
      while let answer = receive(until: pause) {
        if answer <= sequence {
          outcome.firstAnswer = (Clock.now - start).inSeconds
          break
        }
      }
    }
    guard outcome.firstAnswer != nil else { return outcome }
    var total = 0.0
    for _ in 0..<count {
      sequence &+= 1
      let sent = Clock.now
      send(sequence)
      outcome.sent += 1
      let deadline = sent + .seconds(1)
      while let answer = receive(until: deadline) {
        guard answer == sequence else { continue }
        let time = (Clock.now - sent).inSeconds * 1000
        outcome.minimum = outcome.received == 0 ? time : min(outcome.minimum, time)
        outcome.maximum = max(outcome.maximum, time)
        total += time
        outcome.received += 1
        break
      }
      let next = sent + .milliseconds(50)
      while receive(until: next) != nil {}
    }
    if outcome.received > 0 { outcome.average = total / Double(outcome.received) }
    return outcome
  }

  private var marker: [UInt8] { Array("culvert lab echo".utf8) }

  private func send(_ sequence: UInt16) {
    let isIPv4 = target.family == .ipv4
    var message: [UInt8] = [isIPv4 ? 8 : 128, 0, 0, 0]
    message.append(bigEndian: identifier)
    message.append(bigEndian: sequence)
    message += marker
    if isIPv4 {
      var checksum = InternetChecksum()
      message.withUnsafeBytes { checksum.add($0) }
      message[2] = UInt8(checksum.value >> 8)
      message[3] = UInt8(truncatingIfNeeded: checksum.value)
    }
    // A request that cannot be sent (no route yet) is one that gets no answer.
    _ = SocketName(target, port: 0).withPointer { sendto(descriptor, message, message.count, 0, $0, $1) }
  }

  /// The sequence number of the next answer to us, `nil` at the deadline.
  private func receive(until deadline: Instant) -> UInt16? {
    var buffer = [UInt8](repeating: 0, count: 2048)
    while true {
      let left = deadline - Clock.now
      guard left > .zero else { return nil }
      var wait = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
      // Rounded down: the last fraction of a millisecond is spent in short polls.
      guard poll(&wait, 1, Int32(clamping: left.nanoseconds / 1_000_000)) > 0 else { continue }
      let count = recv(descriptor, &buffer, buffer.count, Int32(MSG_DONTWAIT))
      guard count > 0 else { continue }
      var message = buffer[..<count]
      if target.family == .ipv4 {
        guard let first = message.first else { continue }
        message = message.dropFirst(Int(first & 15) * 4)
      }
      let bytes = Array(message)
      guard bytes.count >= 8 + marker.count, bytes[0] == (target.family == .ipv4 ? 0 : 129),
        UInt16(bytes[4]) << 8 | UInt16(bytes[5]) == identifier, Array(bytes[8..<8 + marker.count]) == marker
      else { continue }
      return UInt16(bytes[6]) << 8 | UInt16(bytes[7])
    }
  }
}

/// A socket address in the kernel's form.
struct SocketName {
  private var storage = sockaddr_storage()
  private var length: socklen_t

  init(_ address: IPAddress, port: UInt16) {
    switch address {
    case .v4(let bits):
      var name = sockaddr_in()
      name.sin_family = sa_family_t(AF_INET)
      name.sin_port = port.bigEndian
      name.sin_addr.s_addr = bits.bigEndian
      length = socklen_t(MemoryLayout<sockaddr_in>.size)
      withUnsafeMutableBytes(of: &storage) { $0.storeBytes(of: name, as: sockaddr_in.self) }
    case .v6(let bits):
      var name = sockaddr_in6()
      name.sin6_family = sa_family_t(AF_INET6)
      name.sin6_port = port.bigEndian
      withUnsafeMutableBytes(of: &name.sin6_addr) { $0.storeBytes(of: bits.bigEndian, as: UInt128.self) }
      length = socklen_t(MemoryLayout<sockaddr_in6>.size)
      withUnsafeMutableBytes(of: &storage) { $0.storeBytes(of: name, as: sockaddr_in6.self) }
    }
  }

  func withPointer<Result>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> Result) -> Result {
    withUnsafePointer(to: storage) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, length) }
    }
  }
}
