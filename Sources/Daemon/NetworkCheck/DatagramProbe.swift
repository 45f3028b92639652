import LinuxIO
import NATDiscovery
import STUN
import Values

/// A UDP socket under the name that a machine knows it by.
final class NamedSocket: DatagramSocketHandler {
  let name: ProbeSocket
  let socket: UDPSocket
  private let isConnected: Bool
  var arrived: (UnsafeRawBufferPointer, Endpoint, ProbeSocket) -> Void = { _, _, _ in }
  var failed: (SystemError, NamedSocket) -> Void = { _, _ in }

  /// Bound to an address of ours, on a port of the kernel's choice.
  init(_ name: ProbeSocket, _ check: NetworkCheck, at local: Endpoint) throws(SystemError) {
    self.name = name
    isConnected = false
    socket = try UDPSocket(
      loop: check.loop, arena: check.arena, at: Endpoint(local.address, port: 0, scope: local.scope),
      options: SocketOptions())
    socket.handler = self
  }

  init(_ name: ProbeSocket, _ check: NetworkCheck, to remote: Endpoint) throws(SystemError) {
    self.name = name
    isConnected = true
    socket = try UDPSocket(loop: check.loop, arena: check.arena, to: remote, options: SocketOptions())
    socket.handler = self
  }

  var local: Endpoint? { socket.receipt.local }

  /// - Parameter isWhole: nobody may cut it in pieces.
  func send(_ bytes: [UInt8], to remote: Endpoint, isWhole: Bool = false) {
    for isLast in [false, true] {
      let outcome = bytes.withUnsafeBytes { bytes in
        let send = {
          self.socket.send(bytes, segment: bytes.count, to: self.isConnected ? nil : remote, from: nil, ecn: 0)
        }
        return isWhole ? socket.with(.never, send) : send()
      }
      guard case .failed(let error) = outcome else { return }
      failed(error, self)
      // What a router said of an earlier datagram is told to the next, which was not sent then.
      if isLast || !isWhole || !error.isTooLarge { return }
    }
  }

  func datagramsArrived(_ batch: inout PacketBatch, _ arrival: Arrival, on socket: any DatagramSocket) {
    for place in 0..<batch.count { arrived(UnsafeRawBufferPointer(batch[place]), arrival.remote, name) }
  }

  func socketWritable(_ socket: any DatagramSocket) {}
  func socketReported(_ error: SystemError, on socket: any DatagramSocket) { failed(error, self) }
  func close() { socket.close() }
}

/// The sockets that ask all servers of a family, so that what those saw can be compared: one for each address of ours.
final class SharedSockets {
  private var sockets: [IPAddress: NamedSocket] = [:]
  private var readers: [IPAddress: [(UnsafeRawBufferPointer, Endpoint, ProbeSocket) -> Bool]] = [:]

  /// - Parameter reader: is shown each datagram until one takes it.
  func socket(
    _ check: NetworkCheck, at local: Endpoint,
    _ reader: @escaping (UnsafeRawBufferPointer, Endpoint, ProbeSocket) -> Bool
  ) throws(SystemError) -> NamedSocket {
    let address = local.address
    readers[address, default: []].append(reader)
    if let known = sockets[address] { return known }
    let shared = try NamedSocket(.mapping, check, at: local)
    shared.arrived = { [weak self] bytes, source, name in
      for reader in self?.readers[address] ?? [] where reader(bytes, source, name) { return }
    }
    sockets[address] = shared
    return shared
  }
}

/// One server over UDP: what lies between, and then whether it relays.
final class DatagramProbe: NetworkProbe {
  private unowned let check: NetworkCheck
  private let question: ProbeQuestion
  private var machine: NATDiscovery?
  private var sockets: [ProbeSocket: NamedSocket] = [:]
  private var timer: LoopTimer?
  private var failure: TransportReport.State?
  private var dialogues: [AllocationSession] = []
  private var isMachineDone = false

  init(_ check: NetworkCheck, _ question: ProbeQuestion) {
    self.check = check
    self.question = question
  }

  var isDone: Bool { failure != nil || (isMachineDone && dialogues.allSatisfy(\.isDone)) }

  func begin() {
    let server = question.server
    do throws(SystemError) {
      let size = try NamedSocket(.size, check, to: server)
      sockets[.size] = size
      guard let local = size.local else { throw SystemError("reach udp \(server)", code: 101) }
      sockets[.mapping] = try check.sharedSockets.socket(check, at: local) { [weak self] bytes, source, name in
        self?.arrived(bytes, source, name) ?? false
      }
      for name in [ProbeSocket.filtering, .hairpin] { sockets[name] = try NamedSocket(name, check, at: local) }
    } catch {
      end(.unreachable(error.isPermission ? "\(error)" : error.reason))
      return
    }
    for (name, socket) in sockets {
      if name != .mapping { socket.arrived = { [weak self] in _ = self?.arrived($0, $1, $2) } }
      if name == .size { socket.failed = { [weak self] in self?.failed($0, $1) } }
    }
    let known = sockets[.size]?.socket.pathMTU
    machine = NATDiscovery(
      server: server, locals: sockets.compactMapValues(\.local),
      settings: NATDiscovery.Settings(linkMTU: HostNetwork.linkMTU(to: server.address) ?? known),
      secret: ProbeSecret.make(), at: check.loop.now)
    timer = check.loop.makeTimer { [weak self] in self?.timeIsUp() }
    pump()
  }

  private func arrived(_ bytes: UnsafeRawBufferPointer, _ source: Endpoint, _ name: ProbeSocket) -> Bool {
    guard machine?.handle(bytes, from: source, on: name, at: check.loop.now) == true else { return false }
    pump()
    return true
  }

  private func failed(_ error: SystemError, _ socket: NamedSocket) {
    if error.isTooLarge {
      notePathMTU()
    } else {
      lastError = error
      machine?.handleRefusal(error.reason, on: socket.name, at: check.loop.now)
    }
    // It may be in the middle of sending.
    check.loop.later { [weak self] in self?.pump() }
  }

  private var lastError: SystemError?

  private func notePathMTU() {
    guard let size = sockets[.size]?.socket.pathMTU else { return }
    machine?.handlePathMTU(size, at: check.loop.now)
  }

  private func timeIsUp() {
    machine?.handleTimeout(at: check.loop.now)
    pump()
  }

  private func pump() {
    while let packet = machine?.pollTransmit(at: check.loop.now) {
      sockets[packet.socket]?.send(packet.bytes, to: packet.remote, isWhole: packet.socket == .size)
    }
    while let event = machine?.pollEvent() {
      switch event {
      case .answered:
        // What it knew of the way before counts as told, if it is less than the link takes.
        notePathMTU()
        if let local = sockets[.mapping]?.local { check.answered(question.server, from: local) }
        askAllocations()
        pump()
      case .finished, .gaveUp:
        isMachineDone = true
        check.noteProgress()
      }
    }
    timer?.arm(at: machine?.nextDeadline)
  }

  private func askAllocations() {
    dialogues = question.allocations.map { family in
      AllocationSession(
        check, question.server,
        RelayDialogue.Question(
          isStream: false, samples: 0, asksAllocation: true, family: family, credentials: question.credentials))
    }
    for dialogue in dialogues { dialogue.begin() }
  }

  private func end(_ state: TransportReport.State) {
    failure = state
    check.noteProgress()
  }

  func write(to report: inout TransportReport) {
    report.local = sockets[.mapping]?.local
    if let failure { report.state = failure }
    guard let result = machine?.result else { return }
    report.discovery = result
    report.mapped = result.mapped
    report.roundTrips = result.roundTrips
    report.lost = result.lost
    report.allocations = dialogues.map { ($0.question.family, $0.outcome) }
    switch result.contact {
    case .pending: report.state = .pending
    case .answered: report.state = .answered
    case .refusedRequest(let reason): report.state = .connected("it answers, and refuses to say our address: \(reason)")
    case .unreachable(let reason):
      // Nobody listens there, as a packet that came back says; or it could not even leave.
      report.state = lastError?.code == 111 ? .refused(reason) : .unreachable(reason)
    case .silent(let requests): report.state = .silent("\(requests) requests got no answer")
    }
    report.reaches = report.state.isReached
  }

  func close() {
    timer?.cancel()
    for (name, socket) in sockets where name != .mapping { socket.close() }
    for dialogue in dialogues { dialogue.close() }
  }
}

extension TransportReport.State {
  /// Whether the other end itself answered.
  var isReached: Bool {
    switch self {
    case .answered, .connected: true
    case .pending, .refused, .unreachable, .silent: false
    }
  }
}

/// One allocation over UDP, on a socket of its own: a server keeps one for each.
final class AllocationSession {
  private unowned let check: NetworkCheck
  private let server: Endpoint
  let question: RelayDialogue.Question
  private var machine: RelayDialogue?
  private var socket: NamedSocket?
  private var timer: LoopTimer?

  init(_ check: NetworkCheck, _ server: Endpoint, _ question: RelayDialogue.Question) {
    self.check = check
    self.server = server
    self.question = question
  }

  var isDone: Bool { machine?.isOver ?? true }
  var outcome: RelayDialogue.Allocation { machine?.allocation ?? .notAsked }

  func begin() {
    guard let socket = try? NamedSocket(.size, check, to: server) else { return }
    self.socket = socket
    machine = RelayDialogue(question, secret: ProbeSecret.make(), at: check.loop.now)
    socket.arrived = { [weak self] bytes, _, _ in
      guard let self, self.machine?.handle(bytes, at: self.check.loop.now) == true else { return }
      self.pump()
    }
    timer = check.loop.makeTimer { [weak self] in
      guard let self else { return }
      self.machine?.handleTimeout(at: self.check.loop.now)
      self.pump()
    }
    pump()
  }

  private func pump() {
    while let bytes = machine?.pollTransmit(at: check.loop.now) { socket?.send(bytes, to: server) }
    timer?.arm(at: machine?.nextDeadline)
    if isDone { check.noteProgress() }
  }

  func close() {
    timer?.cancel()
    socket?.close()
  }
}

/// How long a binding is remembered, asked of one server of a family.
final class LifetimeSession {
  private unowned let check: NetworkCheck
  private let server: Endpoint
  private let local: Endpoint
  private let spans: [TimeSpan]
  private var machine: LifetimeProbe?
  private var sockets: [ProbeSocket: NamedSocket] = [:]
  private var timer: LoopTimer?
  private var failure: String?

  init(_ check: NetworkCheck, _ server: Endpoint, from local: Endpoint, upTo limit: TimeSpan) {
    self.check = check
    self.server = server
    self.local = local
    spans = LifetimeProbe.spans(upTo: limit)
  }

  var isDone: Bool { failure != nil || machine?.isFinished == true }
  var result: Judgement<BindingLifetime> {
    failure.map { .unknown($0) } ?? machine?.result ?? .unknown("it did not begin")
  }

  func begin() {
    do throws(SystemError) {
      for name in (0...spans.count).map({ ProbeSocket.idle($0) }) + [.asker] {
        let socket = try NamedSocket(name, check, at: local)
        socket.arrived = { [weak self] bytes, source, name in
          guard let self,
            self.machine?.handle(bytes, from: source, on: name, at: self.check.loop.now) == true
          else { return }
          self.pump()
        }
        sockets[name] = socket
      }
    } catch {
      failure = "\(error)"
      check.noteProgress()
      return
    }
    machine = LifetimeProbe(server: server, spans: spans, secret: ProbeSecret.make(), at: check.loop.now)
    timer = check.loop.makeTimer { [weak self] in
      guard let self else { return }
      self.machine?.handleTimeout(at: self.check.loop.now)
      self.pump()
    }
    pump()
  }

  private func pump() {
    while let packet = machine?.pollTransmit(at: check.loop.now) {
      sockets[packet.socket]?.send(packet.bytes, to: packet.remote)
    }
    timer?.arm(at: machine?.nextDeadline)
    if isDone { check.noteProgress() }
  }

  func close() {
    timer?.cancel()
    for socket in sockets.values { socket.close() }
  }
}
