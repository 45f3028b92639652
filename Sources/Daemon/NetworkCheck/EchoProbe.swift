import Glibc
import LinuxIO
import NATDiscovery
import Values

/// ICMP echoes to one address: small ones and some with as much data as a QUIC packet has, which is what our ICMP
/// transport carries. While nothing comes back they are sent three times; what comes back is followed by two more small
/// ones, as the first round trip may have waited for something.
final class EchoProbe: NetworkProbe {
  private unowned let check: NetworkCheck
  private let address: IPAddress
  private var socket: EchoSocket?
  private var timer: LoopTimer?
  private var sentAt: [UInt16: Instant] = [:]
  private var rounds = 0
  private var roundTrip: TimeSpan?
  private var answers = 0
  private var isLargeAnswered = false
  private var refusal: String?
  private var obstacle: String?
  private(set) var isDone = false

  private static let smallSize = 56
  private static let largeSize = 1200
  /// Large echoes are counted from here.
  private static let large: UInt16 = 100
  /// And those that follow on an answer from here.
  private static let more: UInt16 = 50
  private static let samples = 3
  /// After each round, the last included.
  private static let waits: [TimeSpan] = [.milliseconds(300), .milliseconds(500), .milliseconds(1200)]

  init(_ check: NetworkCheck, _ address: IPAddress) {
    self.check = check
    self.address = address
  }

  func begin() {
    var random = SystemRandomNumberGenerator()
    do throws(SystemError) {
      let socket = try EchoSocket(
        loop: check.loop, to: address, identifier: UInt16(truncatingIfNeeded: random.next()) | 1)
      socket.answered = { [weak self] in self?.answered($0) }
      socket.failed = { [weak self] in self?.failed($0) }
      self.socket = socket
    } catch {
      if error.isPermission {
        obstacle = "an ICMP echo needs CAP_NET_RAW, or a group in net.ipv4.ping_group_range"
      } else {
        refusal = error.reason
      }
      end()
      return
    }
    timer = check.loop.makeTimer { [weak self] in self?.next() }
    next()
  }

  private func next() {
    guard !isDone else { return }
    guard rounds < Self.waits.count else { return end() }
    let wait = Self.waits[rounds]
    rounds += 1
    for (first, size) in [(UInt16(0), Self.smallSize), (Self.large, Self.largeSize)] {
      send(first + UInt16(rounds), size: size)
    }
    guard !isDone else { return }
    timer?.arm(after: wait)
  }

  private func answered(_ sequence: UInt16) {
    guard let sent = sentAt[sequence] else { return }
    let span = check.loop.now - sent
    if sequence > Self.large { isLargeAnswered = true } else { roundTrip = min(roundTrip ?? span, span) }
    if sequence <= Self.large, answers < Self.samples {
      answers += 1
      guard answers < Self.samples else { return endIfAnswered() }
      send(Self.more + UInt16(answers), size: Self.smallSize)
    }
    endIfAnswered()
  }

  private func endIfAnswered() {
    if isLargeAnswered, answers >= Self.samples { end() }
  }

  private func send(_ sequence: UInt16, size: Int) {
    sentAt[sequence] = check.loop.refreshNow()
    if let error = socket?.send(sequence: sequence, size: size) { failed(error) }
  }

  private func failed(_ error: SystemError) {
    guard !error.isTooLarge else { return }
    refusal = error.reason
    if roundTrip == nil, !isLargeAnswered { end() }
  }

  private func end() {
    guard !isDone else { return }
    isDone = true
    timer?.cancel()
    check.noteProgress()
  }

  var report: EchoReport {
    if let obstacle { return .notTried(obstacle) }
    if let roundTrip { return .answered(roundTrip, large: isLargeAnswered) }
    if let refusal { return .refused(refusal) }
    return isDone ? .silent(requests: rounds) : .notTried("the time was over")
  }

  func write(to report: inout TransportReport) {}

  func close() {
    timer?.cancel()
    socket?.close()
  }
}
