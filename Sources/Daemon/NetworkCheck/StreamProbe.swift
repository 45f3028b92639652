import LinuxIO
import NATDiscovery
import Parts
import STUN
import TLSCodec
import Values

/// One server over TCP or TLS: whether connections stand, how its certificate is, how fast it answers STUN, and whether
/// it relays.
///
/// A certificate that is not accepted is told, and the rest is found out all the same on another connection that believes
/// everybody: a user wants to know both. An allocation of each family has a connection of its own, as a server keeps
/// one for each.
final class StreamProbe: NetworkProbe, ByteStreamObserver {
  private unowned let check: NetworkCheck
  private let question: ProbeQuestion
  private let isSecure: Bool
  private var families: ArraySlice<AddressFamily?>
  private var isFirst = true
  private var connection: TCPStream?
  private var stream: (any ByteStream)?
  private var machine: RelayDialogue?
  private var input: [UInt8] = []
  private var timer: LoopTimer?
  private var state = TransportReport.State.pending
  private var reaches = false
  private var isConnected = false
  private var hasConnected = false
  private var session: String?
  private var certificate: String?
  private var mapped: Endpoint?
  private var local: Endpoint?
  private var roundTrips: [TimeSpan] = []
  private var lost = 0
  private var allocations: [(family: AddressFamily?, outcome: RelayDialogue.Allocation)] = []
  private(set) var isDone = false

  /// Three requests for a connection leave in this time.
  private static let patience = TimeSpan.seconds(4)
  private static let samples = 5
  /// No answer to what is asked here is longer.
  private static let longestAnswer = 4096

  init(_ check: NetworkCheck, _ question: ProbeQuestion, isSecure: Bool) {
    self.check = check
    self.question = question
    self.isSecure = isSecure
    families = question.allocations[...]
  }

  func begin() {
    timer = check.loop.makeTimer { [weak self] in self?.timeIsUp() }
    connect(trust: check.trust)
  }

  // MARK: Connecting

  private func connect(trust: TLSTrust) {
    input = []
    isConnected = false
    timer?.arm(after: Self.patience)
    do throws(SystemError) {
      connection = try TCPStream(loop: check.loop, to: question.server, options: SocketOptions()) {
        [weak self] failure in
        guard let self, !self.isDone else { return }
        if let failure {
          self.failed(failure)
        } else {
          self.connected(trust)
        }
      }
    } catch {
      end(.unreachable(error.isPermission ? "\(error)" : error.reason))
    }
  }

  private func connected(_ trust: TLSTrust) {
    guard let connection else { return }
    isConnected = true
    hasConnected = true
    if isFirst { local = connection.receipt.local }
    guard isSecure else {
      reaches = true
      talk(over: connection)
      return
    }
    do throws(TLSError) {
      let credentials = try check.credentials(trust)
      timer?.arm(after: Self.patience)
      let name = question.name
      stream = try TLSStream(
        loop: check.loop, below: connection, credentials: credentials, serverName: name, applicationProtocols: []
      ) { [weak self] failure in
        guard let self, !self.isDone else { return }
        if let failure {
          self.refusedSession(failure, trust)
        } else if let stream = self.stream {
          self.reaches = true
          for case .tls(let facts) in stream.layers { self.session = "\(facts.version)" }
          self.talk(over: stream)
        }
      }
    } catch {
      end(.unreachable("\(error)"))
    }
  }

  private func refusedSession(_ failure: TransportFailure, _ trust: TLSTrust) {
    let words = "\(TLSError.certificateRefused(""))"
    guard trust != .anyone, let place = failure.reason.firstRange(of: words) else {
      failed(failure)
      return
    }
    certificate = String(failure.reason[place.upperBound...])
    drop()
    connect(trust: .anyone)
  }

  private func failed(_ failure: TransportFailure) {
    guard !isDone else { return }
    // What was found out on an earlier connection stays.
    guard !state.isReached else { return end(state) }
    switch failure.kind {
    case .refused: end(.refused(failure.reason))
    case .timeout: end(.silent("no answer to a connection"))
    case .unreachable, .permission: end(.unreachable(failure.reason))
    default: end(isConnected ? .refused(failure.reason) : .unreachable(failure.reason))
    }
  }

  // MARK: Talking

  private func talk(over stream: any ByteStream) {
    self.stream = stream
    stream.observer = self
    let family = families.first
    machine = RelayDialogue(
      RelayDialogue.Question(
        isStream: true, samples: isFirst ? Self.samples : 0, asksAllocation: family != nil, family: family ?? nil,
        credentials: question.credentials),
      secret: ProbeSecret.make(), at: check.loop.now)
    pump()
    stream.readLater()
  }

  func streamReadable(_ stream: any ByteStream) {
    guard self.stream === stream, machine != nil else { return }
    var chunk = [UInt8](repeating: 0, count: 2048)
    for _ in 0..<64 {
      let read = chunk.withUnsafeMutableBytes { stream.read(into: $0) }
      switch read {
      case .bytes(let count):
        input += chunk.prefix(count)
        guard input.count <= Self.longestAnswer, takeMessages() else { return talked("what it says is not STUN") }
      case .blocked: return pump()
      case .end: return talked("it closed the connection")
      case .failed(let failure): return talked(failure.reason)
      }
    }
    stream.readLater()
    pump()
  }

  func streamWritable(_ stream: any ByteStream) {}

  func streamFailed(_ stream: any ByteStream, _ failure: TransportFailure) {
    guard self.stream === stream else { return }
    talked(failure.reason)
  }

  /// False when the bytes are neither messages nor the beginning of one.
  private func takeMessages() -> Bool {
    while !input.isEmpty {
      switch input.withUnsafeBytes({ STUNStreamFramer.next($0, limit: Self.longestAnswer) }) {
      case .needs: return true
      case .broken: return false
      case .frame(let count, let consumed):
        guard count <= input.count, consumed <= input.count else { return true }
        let now = check.loop.now
        input.withUnsafeBytes { bytes in
          _ = machine?.handle(UnsafeRawBufferPointer(rebasing: bytes[..<count]), at: now)
        }
        input.removeFirst(consumed)
      }
    }
    return true
  }

  private func timeIsUp() {
    guard !isDone else { return }
    guard machine != nil else {
      if state.isReached {
        end(state)
      } else if isConnected {
        end(.silent("it takes the connection and does not answer a TLS handshake"))
      } else {
        end(.silent("no answer to a connection within \(Self.patience)"))
      }
      return
    }
    machine?.handleTimeout(at: check.loop.now)
    pump()
  }

  private func pump() {
    guard let stream else { return }
    while let bytes = machine?.pollTransmit(at: check.loop.now) {
      // A few hundred bytes on an idle connection always fit.
      _ = bytes.withUnsafeBytes { stream.write($0) }
    }
    if machine?.isOver == true { talked(nil) } else { timer?.arm(at: machine?.nextDeadline) }
  }

  /// The dialogue is over, for a reason of the connection's or by itself.
  private func talked(_ reason: String?) {
    guard let machine, !isDone else { return }
    self.machine = nil
    if isFirst {
      mapped = machine.mapped
      roundTrips = machine.roundTrips
      lost = machine.lost
      let silence = "it takes the connection and does not answer STUN"
      state = machine.wasAnswered ? .answered : .connected(reason.map { "\(silence): \($0)" } ?? silence)
      isFirst = false
    }
    if let family = families.popFirst() {
      let wasOver = machine.isOver || machine.allocation != .notAsked
      allocations.append((family, wasOver ? machine.allocation : .silent))
    }
    drop()
    if families.isEmpty || !state.isReached || !machine.wasAnswered {
      end(state)
    } else {
      connect(trust: .anyone)
    }
  }

  private func drop() {
    stream?.observer = nil
    stream?.close()
    stream = nil
    connection?.close()
    connection = nil
  }

  private func end(_ state: TransportReport.State) {
    self.state = state
    isDone = true
    timer?.cancel()
    drop()
    check.noteProgress()
  }

  func write(to report: inout TransportReport) {
    report.state = state
    report.reaches = reaches
    report.connects = hasConnected
    report.local = local
    report.mapped = mapped
    report.roundTrips = roundTrips
    report.lost = lost
    report.session = session
    report.certificate = certificate
    report.allocations = allocations
  }

  func close() {
    timer?.cancel()
    drop()
  }
}
